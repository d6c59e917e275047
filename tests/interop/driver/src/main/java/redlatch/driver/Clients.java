package redlatch.driver;

import java.util.ArrayList;
import java.util.List;

import org.redisson.Redisson;
import org.redisson.api.RedissonClient;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.BaseConfig;
import org.redisson.config.BaseMasterSlaveServersConfig;
import org.redisson.config.ClusterServersConfig;
import org.redisson.config.Config;
import org.redisson.config.SentinelServersConfig;
import org.redisson.config.SingleServerConfig;

/** Builds the Redisson client: defaults everywhere, apart from small pools and what the options name. */
final class Clients {
    private static final int POOL = 16;
    private static final int IDLE = 1;

    private Clients() {
    }

    /** The client of the addresses, then one for each further server. */
    static List<RedissonClient> all(Options options, PrefixMapper mapper) {
        List<RedissonClient> clients = new ArrayList<>();
        clients.add(connect(options, options.addresses, mapper));
        for (String address : options.also) {
            clients.add(connect(options, List.of(address), mapper));
        }
        return clients;
    }

    private static RedissonClient connect(Options options, List<String> addresses, PrefixMapper mapper) {
        Config config = new Config();
        config.setThreads(options.threads);
        config.setNettyThreads(options.nettyThreads);
        if (options.prefix != null) {
            config.setNameMapper(mapper);
        }
        if (options.watchdog != null) {
            config.setLockWatchdogTimeout(options.watchdog);
        }
        if (options.stringCodec) {
            config.setCodec(StringCodec.INSTANCE);
        }
        if (options.protocol != null) {
            config.setProtocol(options.protocol);
        }
        BaseConfig<?> servers = switch (options.mode) {
            case "single" -> single(config, addresses);
            case "cluster" -> cluster(config, options, addresses);
            case "sentinel" -> sentinel(config, options.masterName, addresses);
            default -> throw new IllegalArgumentException("unknown mode " + options.mode);
        };
        if (options.timeout != null) {
            servers.setTimeout(options.timeout);
        }
        return Redisson.create(config);
    }

    private static BaseConfig<?> single(Config config, List<String> addresses) {
        SingleServerConfig single = config.useSingleServer();
        single.setAddress(addresses.get(0));
        single.setConnectionPoolSize(POOL);
        single.setConnectionMinimumIdleSize(IDLE);
        single.setSubscriptionConnectionMinimumIdleSize(IDLE);
        return single;
    }

    private static BaseConfig<?> cluster(Config config, Options options, List<String> addresses) {
        ClusterServersConfig cluster = config.useClusterServers();
        cluster.addNodeAddress(addresses.toArray(String[]::new));
        if (options.sharded != null) {
            cluster.setShardedSubscriptionMode(options.sharded);
        }
        if (options.scan != null) {
            cluster.setScanInterval(options.scan);
        }
        return small(cluster);
    }

    private static BaseConfig<?> sentinel(Config config, String master, List<String> addresses) {
        SentinelServersConfig sentinel = config.useSentinelServers();
        sentinel.setMasterName(master);
        sentinel.addSentinelAddress(addresses.toArray(String[]::new));
        // A test may run one sentinel only.
        sentinel.setCheckSentinelsList(false);
        return small(sentinel);
    }

    private static BaseConfig<?> small(BaseMasterSlaveServersConfig<?> servers) {
        servers.setMasterConnectionPoolSize(POOL);
        servers.setMasterConnectionMinimumIdleSize(IDLE);
        servers.setSlaveConnectionPoolSize(POOL);
        servers.setSlaveConnectionMinimumIdleSize(IDLE);
        servers.setSubscriptionConnectionMinimumIdleSize(IDLE);
        return servers;
    }
}
