package redlatch.driver;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;

/**
 * The kinds made of several parts, which are the lines of the name: {@code group} has a group and its values,
 * {@code multi} has names on the first server, {@code red} has one name on every server.
 */
final class SetKinds {
    private SetKinds() {
    }

    /** The lock, or null when the kind is not one of these. */
    static RLock create(List<RedissonClient> clients, String kind, String name) {
        RedissonClient first = clients.get(0);
        List<String> lines = Arrays.asList(name.split("\n", -1));
        return switch (kind) {
            case "group" -> first.getMultiLock(lines.get(0), values(lines.subList(1, lines.size())));
            case "multi" -> first.getMultiLock(lines.stream().map(first::getLock).toArray(RLock[]::new));
            case "red" -> first.getRedLock(clients.stream().map(client -> client.getLock(name)).toArray(RLock[]::new));
            default -> null;
        };
    }

    /** A value is its type, a colon, and itself: {@code s:} a string, {@code i:} an int, {@code l:} a long. */
    private static List<Object> values(List<String> lines) {
        List<Object> values = new ArrayList<>();
        for (String line : lines) {
            String text = line.substring(2);
            values.add(switch (line.substring(0, 2)) {
                case "s:" -> text;
                case "i:" -> Integer.valueOf(text);
                case "l:" -> Long.valueOf(text);
                default -> throw new IllegalArgumentException("a value of no type: " + line);
            });
        }
        return values;
    }
}
