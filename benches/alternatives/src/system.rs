//! The systems that are compared.

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Redlatch,
    Redlock,
    ZooKeeper,
    Etcd,
    Postgres(Way),
    Memcached,
}

/// What PostgreSQL is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Row,
    Advisory,
    Version,
    OneStatement,
}

/// Which server it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Redis,
    RedisOnDisk,
    ThreeRedis,
    ZooKeeper,
    Etcd,
    Postgres,
    Memcached,
}

#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) ask: Ask,
    pub(crate) host: Host,
    /// Who waits, and how; for the reader of the table.
    pub(crate) note: &'static str,
}

impl System {
    /// Whether there is a lock that one holds, and not only a sale that is right.
    pub(crate) fn locks(&self) -> bool {
        !matches!(self.ask, Ask::Postgres(Way::Version | Way::OneStatement))
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.ask, Ask::Redlatch | Ask::Redlock)
    }
}

pub(crate) const SYSTEMS: [System; 10] = [
    System {
        name: "redlatch",
        title: "redlatch",
        ask: Ask::Redlatch,
        host: Host::Redis,
        note: "`client.lock(..)` on one server that keeps nothing on disk; renewed every third of the lease, woken by a message",
    },
    System {
        name: "redlatch-disk",
        title: "redlatch, on disk",
        ask: Ask::Redlatch,
        host: Host::RedisOnDisk,
        note: "the same on a server with `appendonly yes` and `appendfsync always`",
    },
    System {
        name: "redlock",
        title: "redlatch, Redlock",
        ask: Ask::Redlock,
        host: Host::ThreeRedis,
        note: "`MultiLock::majority` on three servers that know nothing of each other and keep nothing on disk",
    },
    System {
        name: "zookeeper",
        title: "ZooKeeper",
        ask: Ask::ZooKeeper,
        host: Host::ZooKeeper,
        note: "an ephemeral sequential node each, the lowest holds, a watch on the one before; one server",
    },
    System {
        name: "etcd",
        title: "etcd",
        ask: Ask::Etcd,
        host: Host::Etcd,
        note: "its lock service by gRPC, bound to a lease that is kept alive; one member",
    },
    System {
        name: "pg-row",
        title: "PostgreSQL, row",
        ask: Ask::Postgres(Way::Row),
        host: Host::Postgres,
        note: "`BEGIN; SELECT .. FOR UPDATE` on a row that stands for the lock, `COMMIT`; the sale locks its own row",
    },
    System {
        name: "pg-advisory",
        title: "PostgreSQL, advisory",
        ask: Ask::Postgres(Way::Advisory),
        host: Host::Postgres,
        note: "`pg_advisory_lock` and `pg_advisory_unlock` of a session",
    },
    System {
        name: "pg-version",
        title: "PostgreSQL, version",
        ask: Ask::Postgres(Way::Version),
        host: Host::Postgres,
        note: "optimistic: reads, and writes where the version is still the same, else begins anew; holds nothing",
    },
    System {
        name: "pg-statement",
        title: "PostgreSQL, one statement",
        ask: Ask::Postgres(Way::OneStatement),
        host: Host::Postgres,
        note: "`UPDATE .. SET amount = amount - 1 WHERE amount > 0`; holds nothing",
    },
    System {
        name: "memcached",
        title: "memcached",
        ask: Ask::Memcached,
        host: Host::Memcached,
        note: "`add` with a time to live, which nothing renews; who waits asks again after 1 to 10 ms; deleted by its number",
    },
];
