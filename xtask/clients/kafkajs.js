// KafkaJS against the server whose address is the argument.

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

const TIME = 1_600_000_000_000
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 2 } })
const section = (name) => console.log(`## ${name}`)

// Keys in order, so that the order of an answer does not show; numbers of 64 bits are text already.
const plain = (value) => JSON.stringify(value, (_, it) =>
  it && it.constructor === Object ? Object.fromEntries(Object.entries(it).sort()) : it)

async function show(name, call) {
  try {
    console.log(name, plain(await call()))
  } catch (error) {
    console.log(name, error.type || error.name, error.message.split('\n')[0],
      (error.errors || []).map((it) => `${it.topic} ${it.type}`).join(' '))
  }
}

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  section('topics')
  const topic = (name, numPartitions, replicationFactor) =>
    admin.createTopics({ topics: [{ topic: name, numPartitions, replicationFactor }] })
  await show('create', () => topic('kafkajs', 2, 1))
  await show('create again', () => topic('kafkajs', 2, 1))
  await show('create with three replicas', () => topic('kafkajs-rf', 1, 3))
  await show('create badly named', () => topic('kafkajs bad', 1, 1))
  await show('create partitions', () => admin.createPartitions({ topicPartitions: [{ topic: 'kafkajs', count: 3 }] }))
  await show('list', async () => (await admin.listTopics()).filter((it) => it.startsWith('kafkajs')).sort())
  await show('metadata', () => admin.fetchTopicMetadata({ topics: ['kafkajs'] }))
  await show('cluster', () => admin.describeCluster())

  section('produce')
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP, CompressionTypes.Snappy]) {
    for (const [acks, idempotent] of [[0, false], [1, false], [-1, false], [-1, true]]) {
      const producer = kafka.producer({ idempotent, maxInFlightRequests: 1, retry: { retries: 2 } })
      await producer.connect()
      const messages = [1, 2].map((number) => ({
        key: number === 1 ? null : `k${number}`, value: `${compression} ${acks} ${number}`, partition: 0,
        timestamp: String(TIME + number), headers: { number: String(number) },
      }))
      await show(`${compression} ${acks} ${idempotent}`, () => producer.send({ topic: 'kafkajs', acks, compression, messages }))
      await producer.disconnect()
    }
  }
  const producer = kafka.producer({ retry: { retries: 1 } })
  await producer.connect()
  await show('too large', () => producer.send({ topic: 'kafkajs', messages: [{ value: 'x'.repeat(2_000_000), partition: 0 }] }))
  await show('absent', () => producer.send({ topic: 'kafkajs bad', messages: [{ value: 'x' }] }))
  await producer.disconnect()

  // KafkaJS consumes only as a member of a group, so here it reads offsets alone.
  section('offsets')
  const sorted = async (offsets) => (await offsets).sort((a, b) => a.partition - b.partition)
  await show('offsets', () => sorted(admin.fetchTopicOffsets('kafkajs')))
  await show('time', () => sorted(admin.fetchTopicOffsetsByTimestamp('kafkajs', TIME + 2)))
  await show('late', () => sorted(admin.fetchTopicOffsetsByTimestamp('kafkajs', TIME + 100_000)))
  await show('delete records', () => admin.deleteTopicRecords({ topic: 'kafkajs', partitions: [{ partition: 0, offset: '4' }] }))
  await show('offsets after', () => sorted(admin.fetchTopicOffsets('kafkajs')))

  section('configs')
  const resource = { type: ConfigResourceTypes.TOPIC, name: 'kafkajs' }
  await show('alter', () => admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '77' }] }] }))
  await show('alter badly', () => admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'no.such', value: '77' }] }] }))
  await show('describe', async () => {
    const found = await admin.describeConfigs({ includeSynonyms: true, resources: [resource] })
    found.resources[0].configEntries.sort((a, b) => a.configName.localeCompare(b.configName))
    return found
  })
  section('delete')
  await show('delete', () => admin.deleteTopics({ topics: ['kafkajs'] }))
  await show('delete again', () => admin.deleteTopics({ topics: ['kafkajs'] }))
  await admin.disconnect()
}

main().catch((error) => { console.log('failed', error.message); process.exitCode = 1 })
