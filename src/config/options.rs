//! librdkafka properties that an operator may not set, each with the reason and the mend. All others pass through.

const ORDER: &str = "records keep their order and none is given up because of it";
const POSITION: &str = "where reading begins and what counts as done is decided by lonewatch";
const IDENTITY: &str = "lonewatch names its clients itself";
const SECRET: &str = "secrets stand in files of their own";

/// Why this property is not the operator's to set, and what to do; none where it may be set.
pub(super) fn refused(property: &str) -> Option<(&'static str, &'static str)> {
    const LEAVE_OUT: &str = "leave it out";
    Some(match property {
        "bootstrap.servers" | "metadata.broker.list" => ("the brokers have a key of their own", "set kafka.brokers"),
        "client.id" => (IDENTITY, LEAVE_OUT),
        "group.id" => (IDENTITY, "set detect.group"),
        "group.instance.id" => (IDENTITY, "set detect.name"),
        "sasl.password" => (SECRET, "write it into a file and set kafka.password_file"),
        "ssl.key.password" | "ssl.keystore.password" | "sasl.oauthbearer.client.secret" => {
            (SECRET, "use a key file without a password that only lonewatch's user may read")
        }
        "enable.idempotence"
        | "enable.gapless.guarantee"
        | "acks"
        | "request.required.acks"
        | "message.timeout.ms"
        | "delivery.timeout.ms"
        | "message.send.max.retries"
        | "retries"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "queue.buffering.max.messages"
        | "queue.buffering.max.kbytes"
        | "linger.ms"
        | "queue.buffering.max.ms"
        | "partitioner"
        | "transactional.id"
        | "transaction.timeout.ms" => (ORDER, LEAVE_OUT),
        "enable.auto.commit"
        | "auto.commit.enable"
        | "auto.commit.interval.ms"
        | "enable.auto.offset.store"
        | "auto.offset.reset"
        | "isolation.level"
        | "enable.partition.eof"
        | "allow.auto.create.topics"
        | "group.protocol"
        | "group.remote.assignor"
        | "partition.assignment.strategy"
        | "session.timeout.ms"
        | "heartbeat.interval.ms" => (POSITION, LEAVE_OUT),
        _other => return None,
    })
}
