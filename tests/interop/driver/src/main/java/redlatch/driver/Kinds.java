package redlatch.driver;

import java.util.Map;
import java.util.function.BiFunction;

import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;

/** The lock kinds a line can name; a new kind is one more entry. */
final class Kinds {
    private static final Map<String, BiFunction<RedissonClient, String, RLock>> KINDS = Map.of(
            "lock", (client, name) -> client.getLock(name),
            "fair", (client, name) -> client.getFairLock(name),
            "spin", (client, name) -> client.getSpinLock(name),
            "fenced", (client, name) -> client.getFencedLock(name),
            "read", (client, name) -> client.getReadWriteLock(name).readLock(),
            "write", (client, name) -> client.getReadWriteLock(name).writeLock(),
            "nonreentrant", (client, name) -> client.getNonReentrantLock(name),
            "nonreentrantfair", (client, name) -> client.getNonReentrantFairLock(name));

    private Kinds() {
    }

    static RLock create(RedissonClient client, String kind, String name) {
        BiFunction<RedissonClient, String, RLock> factory = KINDS.get(kind);
        if (factory == null) {
            throw new IllegalArgumentException("unknown lock kind " + kind);
        }
        return factory.apply(client, name);
    }
}
