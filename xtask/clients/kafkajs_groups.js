// KafkaJS as member of groups and in transactions, against the server whose address is the argument.

const { Kafka, logLevel } = require('kafkajs')

const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING })
const section = (name) => console.log(`## ${name}`)
const LIMIT_MS = 30_000

async function show(name, call) {
  try {
    console.log(name, JSON.stringify(await call()))
  } catch (error) {
    console.log(name, error.type || error.name)
  }
}

async function until(isSo) {
  const end = Date.now() + LIMIT_MS
  while (!isSo() && Date.now() < end) await new Promise((go) => setTimeout(go, 50))
  return isSo()
}

async function member(groupId, read, assigned) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, rebalanceTimeout: 10_000, heartbeatInterval: 500 })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => assigned.set(consumer, (payload.memberAssignment['kafkajs-groups'] || []).length))
  await consumer.connect()
  await consumer.subscribe({ topics: ['kafkajs-groups'], fromBeginning: true })
  await consumer.run({ eachMessage: async ({ partition, message }) => { read.push(`${partition}@${message.offset}`) } })
  return consumer
}

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'kafkajs-groups', numPartitions: 4 }, { topic: 'kafkajs-out', numPartitions: 1 }] })
  const plain = kafka.producer()
  await plain.connect()
  await plain.send({ topic: 'kafkajs-groups', messages: Array.from({ length: 40 }, (_, it) => ({ value: `v${it}`, partition: it % 4 })) })

  section('group')
  const read = []
  const assigned = new Map()
  const sizes = () => [...assigned.values()].sort()
  const first = await member('kafkajs', read, assigned)
  console.log('one', await until(() => read.length >= 40), new Set(read).size)
  const second = await member('kafkajs', read, assigned)
  console.log('two', await until(() => sizes().join() === '2,2'))
  await show('described', async () => (await admin.describeGroups(['kafkajs'])).groups.map((it) => [it.state, it.protocol, it.members.length]))
  assigned.delete(first)
  await first.disconnect()
  console.log('one has left', await until(() => sizes().join() === '4'))
  await second.disconnect()
  await show('described', async () => (await admin.describeGroups(['kafkajs'])).groups.map((it) => [it.state, it.members.length]))
  await show('offsets', async () => (await admin.fetchOffsets({ groupId: 'kafkajs', topics: ['kafkajs-groups'] }))
    .map((it) => it.partitions.map((one) => one.offset)))
  await show('set', () => admin.setOffsets({ groupId: 'kafkajs', topic: 'kafkajs-groups', partitions: [{ partition: 1, offset: '3' }] }))
  await show('offsets', async () => (await admin.fetchOffsets({ groupId: 'kafkajs', topics: ['kafkajs-groups'] }))
    .map((it) => it.partitions.map((one) => one.offset)))
  await show('listed', async () => (await admin.listGroups()).groups.filter((it) => it.groupId === 'kafkajs'))
  await show('deleted', () => admin.deleteGroups(['kafkajs']))
  await show('deleted again', () => admin.deleteGroups(['kafkajs']))

  section('transactions')
  const producer = kafka.producer({ transactionalId: 'kafkajs-txn', maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  for (const [number, end] of ['commit', 'abort', 'commit'].entries()) {
    const transaction = await producer.transaction()
    await show('sent', async () => (await transaction.send({ topic: 'kafkajs-out', messages: [{ value: `${number}`, partition: 0 }] })).length)
    await show('offsets', () => transaction.sendOffsets({ consumerGroupId: 'kafkajs-processing',
      topics: [{ topic: 'kafkajs-groups', partitions: [{ partition: 0, offset: `${10 + number}` }] }] }))
    await show(end, () => transaction[end]())
  }
  await show('committed', async () => (await admin.fetchOffsets({ groupId: 'kafkajs-processing', topics: ['kafkajs-groups'] }))
    .map((it) => it.partitions.map((one) => one.offset)))
  const values = []
  const reader = kafka.consumer({ groupId: 'kafkajs-reading', readUncommitted: false, sessionTimeout: 10_000 })
  await reader.connect()
  await reader.subscribe({ topics: ['kafkajs-out'], fromBeginning: true })
  await reader.run({ eachMessage: async ({ message }) => { values.push(`${message.offset}=${message.value}`) } })
  await until(() => values.length >= 2)
  console.log('read committed', values.join(' '))
  await reader.disconnect()
  await producer.disconnect()
  await plain.disconnect()
  await admin.disconnect()
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
