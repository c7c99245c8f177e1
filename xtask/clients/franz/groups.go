package main

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const groupTopic, outTopic = "franz-groups", "franz-out"

// member is a client of a group that knows what it is assigned and counts what it reads.
type member struct {
	client   *kgo.Client
	lock     sync.Mutex
	assigned map[int32]bool
	read     int
	end      context.CancelFunc
}

func join(server, group string, options ...kgo.Opt) *member {
	it := &member{assigned: map[int32]bool{}}
	change := func(mark bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			it.lock.Lock()
			defer it.lock.Unlock()
			for _, partition := range partitions[groupTopic] {
				if mark {
					it.assigned[partition] = true
				} else {
					delete(it.assigned, partition)
				}
			}
		}
	}
	options = append(options, kgo.ConsumerGroup(group), kgo.ConsumeTopics(groupTopic), kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(300*time.Millisecond))
	it.client = client(server, options...)
	within, end := context.WithCancel(context.Background())
	it.end = end
	go func() {
		for within.Err() == nil {
			fetched := it.client.PollFetches(within)
			it.lock.Lock()
			it.read += fetched.NumRecords()
			it.lock.Unlock()
		}
	}()
	return it
}

func (it *member) count() (assigned, read int) {
	it.lock.Lock()
	defer it.lock.Unlock()
	return len(it.assigned), it.read
}

func (it *member) leave() {
	it.end()
	it.client.Close()
}

func until(isSo func() bool) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if isSo() {
			return true
		}
	}
	return isSo()
}

func groups(within context.Context, server string) {
	plain := client(server)
	defer plain.Close()
	admin := kadm.NewClient(plain)
	_, _ = admin.CreateTopic(within, 4, 1, nil, groupTopic)
	_, _ = admin.CreateTopic(within, 1, 1, nil, outTopic)
	writer := client(server, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for number := int32(0); number < 40; number++ {
		writer.Produce(within, &kgo.Record{Topic: groupTopic, Partition: number % 4, Value: []byte("v")}, nil)
	}
	_ = writer.Flush(within)
	writer.Close()
	for _, kind := range []string{"cooperative-sticky", "range"} {
		section("group, " + kind)
		balancer := kgo.Balancers(kgo.CooperativeStickyBalancer())
		if kind == "range" {
			balancer = kgo.Balancers(kgo.RangeBalancer())
		}
		group := "franz-" + kind
		first := join(server, group, balancer)
		fmt.Println("one", until(func() bool { assigned, read := first.count(); return assigned == 4 && read == 40 }))
		fmt.Println("committed", fault(first.client.CommitUncommittedOffsets(within)))
		second := join(server, group, balancer)
		two := func() bool { one, _ := first.count(); other, _ := second.count(); return one == 2 && other == 2 }
		fmt.Println("two", until(two))
		told(within, admin, group)
		first.leave()
		fmt.Println("one has left", until(func() bool { assigned, _ := second.count(); return assigned == 4 }))
		second.leave()
		told(within, admin, group)
		offsets, err := admin.FetchOffsets(within, group)
		fmt.Println("offsets", fault(err))
		for _, it := range offsets.Sorted() {
			fmt.Println(it.Topic, it.Partition, it.At, it.Metadata, fault(it.Err))
		}
		deleted, err := admin.DeleteGroups(within, group, "franz-nobody")
		fmt.Println("deleted", fault(err), fault(deleted[group].Err), fault(deleted["franz-nobody"].Err))
	}
	transactions(within, server, admin)
}

func told(within context.Context, admin *kadm.Client, group string) {
	described, err := admin.DescribeGroups(within, group)
	it := described[group]
	fmt.Println("described", fault(err), it.State, it.ProtocolType, it.Protocol, len(it.Members), fault(it.Err))
}

func transactions(within context.Context, server string, admin *kadm.Client) {
	section("transactions")
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(server), kgo.TransactionalID("franz-txn"),
		kgo.ConsumerGroup("franz-processing"), kgo.ConsumeTopics(groupTopic), kgo.RequireStableFetchOffsets(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		fmt.Println(fault(err))
		return
	}
	seen := map[string]int{}
	for round := 0; len(seen) < 40 && within.Err() == nil; round++ {
		fetched := session.PollRecords(within, 15)
		if fetched.NumRecords() == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			fmt.Println("begin", fault(err))
			break
		}
		var keys []string
		fetched.EachRecord(func(record *kgo.Record) {
			key := strconv.Itoa(int(record.Partition)) + "@" + strconv.FormatInt(record.Offset, 10)
			keys = append(keys, key)
			session.Produce(within, &kgo.Record{Topic: outTopic, Value: []byte(key)}, nil)
		})
		committed, err := session.End(within, kgo.TransactionEndTry(round%3 != 1))
		if err != nil {
			fmt.Println("end", fault(err))
			break
		}
		if committed {
			for _, key := range keys {
				seen[key]++
			}
		}
	}
	session.Close()
	fmt.Println("processed", len(seen))
	reader := client(server, kgo.ConsumeTopics(outTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer reader.Close()
	values := map[string]int{}
	for end := time.Now().Add(20 * time.Second); len(values) < 40 && time.Now().Before(end); {
		poll, cancel := context.WithTimeout(within, time.Second)
		reader.PollFetches(poll).EachRecord(func(record *kgo.Record) { values[string(record.Value)]++ })
		cancel()
	}
	twice := 0
	for _, count := range values {
		if count > 1 {
			twice++
		}
	}
	fmt.Println("written", len(values), "twice", twice)
	found, err := admin.DescribeTransactions(within, "franz-txn")
	for _, it := range found.Sorted() {
		fmt.Println("described", fault(err), it.TxnID, it.State, it.TimeoutMillis, fault(it.Err))
	}
	listed, err := admin.ListTransactions(within, nil, nil)
	var ids []string
	for _, it := range listed.Sorted() {
		if it.TxnID == "franz-txn" {
			ids = append(ids, it.TxnID+" "+it.State)
		}
	}
	sort.Strings(ids)
	fmt.Println("listed", fault(err), ids)
}
