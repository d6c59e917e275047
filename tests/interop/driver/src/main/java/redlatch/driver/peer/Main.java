package redlatch.driver.peer;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

import org.redisson.Redisson;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Redisson as a participant of the public benchmark; its orders are described in {@code benches/peers/src/order.rs}. */
public final class Main {
    private static final int TUNED_CHANNELS = 5_000;
    private static final int TUNED_THREADS = 4;
    private static final int TUNED_NETTY_THREADS = 2;

    private Main() {
    }

    /** {@code redisson|redisson-tuned --address HOST:PORT --watchdog MS}. */
    public static void main(String[] argv) throws Exception {
        Config config = new Config();
        config.setLockWatchdogTimeout(Long.parseLong(argv[4]));
        config.useSingleServer().setAddress("redis://" + argv[2]);
        if (argv[0].equals("redisson-tuned")) {
            config.setThreads(TUNED_THREADS);
            config.setNettyThreads(TUNED_NETTY_THREADS);
            config.useSingleServer().setSubscriptionsPerConnection(TUNED_CHANNELS);
        }
        RedissonClient client = Redisson.create(config);
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Crowd crowd = new Crowd(client);
        out.println("ready");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String answer;
            try {
                answer = answer(client, crowd, line.split(" "));
            } catch (Exception e) {
                answer = "error " + e.toString().replace('\n', ' ');
            }
            out.println(answer);
        }
        // Nothing that is left on the server is worth a slow shutdown.
        Runtime.getRuntime().halt(0);
    }

    private static String answer(RedissonClient client, Crowd crowd, String[] words) throws Exception {
        return switch (words[0]) {
            case "run" -> new Run(client, words).run();
            case "hold" -> crowd.hold(Integer.parseInt(words[1]), words[2]);
            case "release" -> crowd.release();
            case "wait" -> crowd.await(Integer.parseInt(words[1]), words[2]);
            case "granted" -> crowd.granted(Duration.ofMillis(Long.parseLong(words[1])));
            default -> throw new IllegalArgumentException("unknown order " + words[0]);
        };
    }
}
