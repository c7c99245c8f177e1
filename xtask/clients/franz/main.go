// franz-go against the server whose address is the argument; with a second one, `groups`, as member of groups and in
// transactions.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const topic = "franz"

var moment = time.UnixMilli(1_600_000_000_000)

func section(name string) { fmt.Println("## " + name) }

func fault(err error) string {
	var refused *kerr.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// show prints a value with the keys of its maps in order.
func show(name string, value any, err error) {
	text, _ := json.Marshal(value)
	fmt.Println(name, fault(err), string(text))
}

func client(server string, options ...kgo.Opt) *kgo.Client {
	options = append(options, kgo.SeedBrokers(server), kgo.RetryTimeout(5*time.Second))
	made, err := kgo.NewClient(options...)
	if err != nil {
		panic(err)
	}
	return made
}

func main() {
	server := os.Args[1]
	within, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if len(os.Args) > 2 && os.Args[2] == "groups" {
		groups(within, server)
		return
	}
	plain := client(server)
	defer plain.Close()
	admin := kadm.NewClient(plain)

	section("topics")
	policy := "compact"
	for _, name := range []string{topic, topic, "franz bad"} {
		made, err := admin.CreateTopic(within, 2, 1, nil, name)
		fmt.Println("create", name, fault(err), made.NumPartitions, made.ReplicationFactor, len(made.Configs), made.ErrMessage)
	}
	made, err := admin.CreateTopic(within, -1, -1, map[string]*string{"cleanup.policy": &policy}, "franz-default")
	fmt.Println("create", fault(err), made.NumPartitions, made.ReplicationFactor, made.ErrMessage)
	made, err = admin.CreateTopic(within, 1, 3, nil, "franz-rf")
	fmt.Println("create", fault(err), made.ErrMessage)
	checked, err := admin.ValidateCreateTopics(within, 1, 1, nil, "franz-dry")
	fmt.Println("validate", fault(err), fault(checked["franz-dry"].Err))
	grown, err := admin.UpdatePartitions(within, 3, topic, "franz-absent")
	fmt.Println("partitions", fault(err), fault(grown[topic].Err), fault(grown["franz-absent"].Err))
	metadata, err := admin.Metadata(within, topic, "franz-absent")
	fmt.Println("metadata", fault(err), metadata.Cluster, metadata.Controller, metadata.Brokers.NodeIDs())
	for _, it := range metadata.Topics.Sorted() {
		fmt.Println(it.Topic, it.IsInternal, fault(it.Err))
		for _, partition := range it.Partitions.Sorted() {
			fmt.Println(partition.Partition, partition.Leader, partition.LeaderEpoch, partition.Replicas, partition.ISR, fault(partition.Err))
		}
	}

	produce(within, server)
	consume(within, server)
	offsets(within, admin)
	configs(within, admin)
	raw(within, plain)

	section("delete")
	deleted, err := admin.DeleteTopics(within, topic, "franz-absent")
	fmt.Println(fault(err), fault(deleted[topic].Err), fault(deleted["franz-absent"].Err))
}

func produce(within context.Context, server string) {
	section("produce")
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for acks, option := range [][]kgo.Opt{
			{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()},
			{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()},
			{kgo.RequiredAcks(kgo.AllISRAcks())},
		} {
			option = append(option, kgo.ProducerBatchCompression(codecs[name]), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			producer := client(server, option...)
			var records []*kgo.Record
			for number := range 3 {
				records = append(records, &kgo.Record{
					Topic: topic, Value: []byte(strings.Repeat(name, 20+number)), Timestamp: moment.Add(time.Duration(number) * time.Millisecond),
					Headers: []kgo.RecordHeader{{Key: "codec", Value: []byte(name)}, {Key: "none"}},
				})
			}
			for _, result := range producer.ProduceSync(within, records...) {
				fmt.Println(name, acks, fault(result.Err), result.Record.Partition, result.Record.Offset)
			}
			producer.Close()
		}
	}
	producer := client(server, kgo.ProducerBatchMaxBytes(3_000_000), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	large := producer.ProduceSync(within, &kgo.Record{Topic: topic, Value: make([]byte, 2_000_000)})
	fmt.Println("too large", fault(large.FirstErr()))
}

func consume(within context.Context, server string) {
	for _, isolation := range []kgo.IsolationLevel{kgo.ReadUncommitted(), kgo.ReadCommitted()} {
		section(fmt.Sprintf("consume %v", isolation))
		consumer := client(server, kgo.FetchIsolationLevel(isolation), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			topic: {0: kgo.NewOffset().AtStart()},
		}))
		for seen := 0; seen < 46; {
			fetches := consumer.PollFetches(within)
			if err := fetches.Err(); err != nil {
				fmt.Println(fault(err))
				break
			}
			fetches.EachRecord(func(it *kgo.Record) {
				seen++
				fmt.Println(it.Offset, it.LeaderEpoch, it.Timestamp.UnixMilli(), string(it.Key), string(it.Value[:4]), len(it.Value), len(it.Headers), it.ProducerEpoch)
			})
		}
		consumer.Close()
	}
	section("consume from a time")
	consumer := client(server, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().AfterMilli(moment.UnixMilli() + 2)},
	}))
	defer consumer.Close()
	fetches := consumer.PollFetches(within)
	fmt.Println(fault(fetches.Err()), fetches.Records()[0].Offset)
}

func offsets(within context.Context, admin *kadm.Client) {
	section("offsets")
	print := func(name string, listed kadm.ListedOffsets, err error) {
		fmt.Println(name, fault(err))
		lines := []string{}
		listed.Each(func(it kadm.ListedOffset) {
			lines = append(lines, fmt.Sprintln(it.Partition, it.Offset, it.Timestamp, it.LeaderEpoch, fault(it.Err)))
		})
		sort.Strings(lines)
		fmt.Print(strings.Join(lines, ""))
	}
	listed, err := admin.ListStartOffsets(within, topic)
	print("start", listed, err)
	listed, err = admin.ListEndOffsets(within, topic)
	print("end", listed, err)
	listed, err = admin.ListCommittedOffsets(within, topic)
	print("committed", listed, err)
	listed, err = admin.ListMaxTimestampOffsets(within, topic)
	print("max timestamp", listed, err)
	listed, err = admin.ListLocalLogStartOffsets(within, topic)
	print("local start", listed, err)
	listed, err = admin.ListOffsetsAfterMilli(within, moment.UnixMilli()+1, topic)
	print("time", listed, err)
	var asked kadm.OffsetForLeaderEpochRequest
	asked.Add(topic, 0, 0)
	asked.Add(topic, 1, 5)
	epochs, err := admin.OffsetForLeaderEpoch(within, asked)
	fmt.Println("epochs", fault(err))
	for _, partition := range []int32{0, 1} {
		it := epochs[topic][partition]
		fmt.Println(it.Partition, it.LeaderEpoch, it.EndOffset, fault(it.Err))
	}
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7})
	before.Add(kadm.Offset{Topic: topic, Partition: 1, At: 7})
	deleted, err := admin.DeleteRecords(within, before)
	fmt.Println("delete records", fault(err))
	for _, it := range deleted.Sorted() {
		fmt.Println(it.Partition, it.LowWatermark, fault(it.Err))
	}
}

func configs(within context.Context, admin *kadm.Client) {
	section("configs")
	value := "44"
	altered, err := admin.AlterTopicConfigs(within, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topic)
	fmt.Println("alter", fault(err), fault(altered[0].Err))
	altered, err = admin.AlterTopicConfigs(within, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "no.such", Value: &value}}, topic)
	fmt.Println("alter", fault(err), fault(altered[0].Err), altered[0].ErrMessage)
	found, err := admin.DescribeTopicConfigs(within, topic)
	fmt.Println("describe", fault(err))
	sort.Slice(found[0].Configs, func(a, b int) bool { return found[0].Configs[a].Key < found[0].Configs[b].Key })
	for _, it := range found[0].Configs {
		fmt.Println(it.Key, it.MaybeValue(), it.Source, it.Sensitive, len(it.Synonyms))
	}
	listed, err := admin.ListConfigResources(within)
	fmt.Println("resources", fault(err), len(listed.Resources) > 0)
	reassigned, err := admin.ListPartitionReassignments(within, nil)
	show("reassignments", reassigned, err)
}

// raw sends requests as the client's own message library writes them.
func raw(within context.Context, plain *kgo.Client) {
	section("raw")
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	asked := kmsg.NewDescribeQuorumRequestTopic()
	asked.Topic = "__cluster_metadata"
	asked.Partitions = append(asked.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, asked)
	answer, err := quorum.RequestWith(within, plain)
	fmt.Println("quorum", fault(err), answer.ErrorCode, answer.Topics[0].Partitions[0].LeaderID, len(answer.Topics[0].Partitions[0].CurrentVoters))
	cluster, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(within, plain)
	fmt.Println("cluster", fault(err), cluster.ClusterID, cluster.ControllerID, len(cluster.Brokers))
	producers := kmsg.NewPtrDescribeProducersRequest()
	wanted := kmsg.NewDescribeProducersRequestTopic()
	wanted.Topic, wanted.Partitions = topic, []int32{0}
	producers.Topics = append(producers.Topics, wanted)
	active, err := producers.RequestWith(within, plain)
	fmt.Println("producers", fault(err), len(active.Topics[0].Partitions[0].ActiveProducers))
}
