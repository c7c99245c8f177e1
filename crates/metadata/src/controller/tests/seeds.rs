//! Random requests, brokers that come and go, time that passes: after every step the invariants hold, epochs have
//! only risen, and in the end the log alone gives the same image.

use std::collections::BTreeMap;

use ottla_base::PartitionIndex;
use ottla_machine::Entropy;

use super::*;
use crate::{Partition, PartitionId};

const TOPICS: [&str; 5] = ["a", "b", "c.d", "c_d", "e"];

struct Run {
    draws: Entropy,
    cluster: Cluster,
    brokers: i32,
}

impl Run {
    fn step(&mut self) {
        let topic = TOPICS[self.draws.below(TOPICS.len())];
        let broker = 1 + self.draws.below(self.brokers as usize) as i32;
        match self.draws.below(15) {
            0 | 1 => {
                let (partitions, factor) = (1 + self.draws.below(6) as i32, 1 + self.draws.below(4) as i16);
                self.cluster.create(&[(topic, partitions, factor)]);
            }
            2 => {
                self.delete(topic);
            }
            3 => self.grow(topic),
            4 => {
                let incarnation = u128::from(self.draws.draw() | 1 << 40);
                let previous = if self.draws.below(3) == 0 { -1 } else { self.cluster.epoch(broker) };
                self.cluster.register(broker, incarnation, previous);
            }
            5 => drop(self.cluster.heartbeat(broker, |it| it.want_shut_down = true)),
            6 => drop(self.cluster.heartbeat(broker, |it| it.want_fence = true)),
            7 | 8 => drop(self.cluster.heartbeat(broker, |_| ())),
            9 => self.cluster.pass(Duration::from_secs(self.draws.below(12) as u64)),
            10 => self.shrink_or_grow_isr(),
            11 => self.move_partition(topic),
            12 => self.elect(),
            13 => drop(self.cluster.heartbeat(broker, |it| it.offline_log_dirs = vec![directory_of(broker)])),
            _ => self.assign(broker, topic),
        }
    }

    fn delete(&mut self, topic: &'static str) {
        let topic =
            delete_topics_request::DeleteTopicState { name: Some(topic.into()), ..Default::default() };
        let request =
            delete_topics_request::DeleteTopicsRequest { topics: vec![topic], ..Default::default() };
        let (deletable, describable) = (Names::All, Names::All);
        self.cluster.ask(Request::DeleteTopics(DeleteTopics { request, version: 6, deletable, describable }));
    }

    fn grow(&mut self, topic: &'static str) {
        let count = 1 + self.draws.below(9) as i32;
        let topic = create_partitions_request::CreatePartitionsTopic {
            name: topic.into(),
            count,
            assignments: None,
            ..Default::default()
        };
        let request =
            create_partitions_request::CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        self.cluster.ask(Request::CreatePartitions(CreatePartitions { request, alterable: Names::All }));
    }

    fn some_partition(&mut self) -> Option<(PartitionId, Partition)> {
        let count = self.cluster.image().topics.partition_count();
        let at = self.draws.below(count.max(1));
        let (id, partition) = self.cluster.image().topics.all_partitions().nth(at)?;
        Some((id, (**partition).clone()))
    }

    /// What a leader would wish: some of its replicas, mostly at the right epochs.
    fn shrink_or_grow_isr(&mut self) {
        let Some((id, partition)) = self.some_partition() else { return };
        let leader = partition.leader;
        let mut isr = vec![leader.get()];
        for replica in &partition.replicas {
            if *replica != leader && self.draws.below(2) == 0 {
                isr.push(replica.get());
            }
        }
        let states = isr.into_iter().map(|id| alter_partition_request::BrokerState {
            broker_id: id,
            broker_epoch: self.cluster.epoch(id),
            ..Default::default()
        });
        let data = alter_partition_request::PartitionData {
            partition_index: id.index.get(),
            leader_epoch: partition.leader_epoch.get(),
            partition_epoch: partition.partition_epoch - i32::from(self.draws.below(8) == 0),
            new_isr_with_epochs: states.collect(),
            ..Default::default()
        };
        let topic = alter_partition_request::TopicData {
            topic_id: id.topic,
            partitions: vec![data],
            ..Default::default()
        };
        let request = alter_partition_request::AlterPartitionRequest {
            broker_id: leader.get(),
            broker_epoch: self.cluster.epoch(leader.get()),
            topics: vec![topic],
            ..Default::default()
        };
        self.cluster.ask(Request::AlterPartition(request));
    }

    fn move_partition(&mut self, topic: &'static str) {
        let replicas = match self.draws.below(4) {
            0 => None,
            count => {
                let first = self.draws.below(self.brokers as usize) as i32;
                Some((0..count as i32).map(|at| (first + at) % self.brokers + 1).collect())
            }
        };
        let partition = alter_partition_reassignments_request::ReassignablePartition {
            partition_index: self.draws.below(3) as i32,
            replicas,
            ..Default::default()
        };
        let topic = alter_partition_reassignments_request::ReassignableTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = alter_partition_reassignments_request::AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        self.cluster.ask(Request::AlterPartitionReassignments(request));
    }

    fn elect(&mut self) {
        let request = elect_leaders_request::ElectLeadersRequest {
            election_type: self.draws.below(2) as i8,
            topic_partitions: None,
            ..Default::default()
        };
        self.cluster.ask(Request::ElectLeaders(request));
    }

    fn assign(&mut self, broker: i32, topic: &'static str) {
        let Some(topic_id) = self.cluster.image().topics.id(topic) else { return };
        let partition =
            assign_replicas_to_dirs_request::PartitionData { partition_index: 0, ..Default::default() };
        let topic = assign_replicas_to_dirs_request::TopicData {
            topic_id,
            partitions: vec![partition],
            ..Default::default()
        };
        let directory = assign_replicas_to_dirs_request::DirectoryData {
            id: directory_of(broker + 500 * self.draws.below(2) as i32),
            topics: vec![topic],
            ..Default::default()
        };
        let request = assign_replicas_to_dirs_request::AssignReplicasToDirsRequest {
            broker_id: broker,
            broker_epoch: self.cluster.epoch(broker),
            directories: vec![directory],
            ..Default::default()
        };
        self.cluster.ask(Request::AssignReplicasToDirs(request));
    }

    fn epochs(&self) -> BTreeMap<(Uuid, PartitionIndex), (i32, i32)> {
        let all = self.cluster.image().topics.all_partitions();
        all.map(|(id, it)| ((id.topic, id.index), (it.leader_epoch.get(), it.partition_epoch))).collect()
    }
}

fn run(seed: u8, steps: usize) -> Run {
    let brokers = 1 + i32::from(seed % 4);
    let cluster = Cluster::with_brokers(brokers, options());
    let mut run = Run { draws: Entropy::from_seed([seed + 1; 32]), cluster, brokers };
    for _ in 0..steps {
        let before = run.epochs();
        run.step();
        check_invariants(run.cluster.image());
        for (id, now) in run.epochs() {
            let then = before.get(&id).copied().unwrap_or_default();
            assert!(now.0 >= then.0 && now.1 >= then.1, "epochs of {id:?} fell from {then:?} to {now:?}");
        }
    }
    run.cluster.check();
    run
}

#[test]
fn whatever_is_asked_the_invariants_hold() {
    for seed in 0..24 {
        run(seed, 250);
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_log() {
    assert_eq!(run(3, 200).cluster.log, run(3, 200).cluster.log);
}
