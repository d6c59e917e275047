package redlatch.driver;

import java.util.ArrayList;
import java.util.List;

import org.redisson.config.Protocol;
import org.redisson.config.ShardedSubscriptionMode;

/** The command line: {@code --name value} pairs. Null means "leave Redisson's default". */
final class Options {
    final List<String> addresses = new ArrayList<>();
    /** Further servers, each with a client of its own. */
    final List<String> also = new ArrayList<>();
    String mode = "single";
    String masterName = "mymaster";
    String prefix;
    Long watchdog;
    Integer timeout;
    Protocol protocol;
    ShardedSubscriptionMode sharded;
    Integer scan;
    boolean stringCodec;
    int nettyThreads = 2;
    int threads = 4;

    static Options parse(String[] argv) {
        Options options = new Options();
        for (int i = 0; i < argv.length; i += 2) {
            if (i + 1 == argv.length) {
                throw new IllegalArgumentException(argv[i] + " needs a value");
            }
            options.set(argv[i], argv[i + 1]);
        }
        if (options.addresses.isEmpty()) {
            throw new IllegalArgumentException("--address redis://host:port is required");
        }
        return options;
    }

    private void set(String name, String value) {
        switch (name) {
            case "--address" -> addresses.add(value);
            case "--also" -> also.add(value);
            case "--codec" -> stringCodec = value.equals("string");
            case "--mode" -> mode = value;
            case "--master-name" -> masterName = value;
            case "--prefix" -> prefix = value;
            case "--watchdog" -> watchdog = Long.valueOf(value);
            case "--timeout" -> timeout = Integer.valueOf(value);
            case "--protocol" -> protocol = Protocol.valueOf(value);
            case "--sharded" -> sharded = ShardedSubscriptionMode.valueOf(value);
            case "--scan" -> scan = Integer.valueOf(value);
            case "--threads-netty" -> nettyThreads = Integer.parseInt(value);
            case "--threads" -> threads = Integer.parseInt(value);
            default -> throw new IllegalArgumentException("unknown option " + name);
        }
    }
}
