package redlatch.driver;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;

import org.redisson.api.RedissonClient;

/**
 * Drives a Redisson client by lines, for the interop tests.
 *
 * <pre>
 * start:    ready &lt;client uuid&gt;
 * request:  &lt;id&gt; &lt;worker&gt; &lt;op&gt; &lt;args...&gt;
 * answer:   &lt;id&gt; ok &lt;elapsed ms&gt; [result]
 *           &lt;id&gt; err &lt;elapsed ms&gt; &lt;exception class&gt; &lt;message&gt;
 *           iv &lt;id&gt; &lt;thread&gt; &lt;granted&gt; &lt;released&gt;      (before the answer of `contend`)
 * </pre>
 */
public final class Main {
    private static final long SHUTDOWN_LIMIT_MS = 5_000;

    private Main() {
    }

    /** Starts the client, serves lines until the end of the input, then shuts the client down. */
    public static void main(String[] argv) throws Exception {
        Out out = new Out();
        List<RedissonClient> clients;
        PrefixMapper mapper;
        try {
            Options options = Options.parse(argv);
            mapper = new PrefixMapper(options.prefix);
            clients = Clients.all(options, mapper);
        } catch (RuntimeException e) {
            for (Throwable cause = e; cause != null; cause = cause.getCause()) {
                System.err.println(cause);
            }
            System.exit(2);
            return;
        }
        out.line("ready " + clients.get(0).getId());
        new Driver(clients, mapper, out).serve(
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        haltLater();
        clients.forEach(RedissonClient::shutdown);
        Runtime.getRuntime().halt(0);
    }

    /** A shutdown that meets a dead server must not keep the process alive. */
    private static void haltLater() {
        Thread guard = new Thread(() -> {
            try {
                Thread.sleep(SHUTDOWN_LIMIT_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            Runtime.getRuntime().halt(3);
        }, "halt");
        guard.setDaemon(true);
        guard.start();
    }
}
