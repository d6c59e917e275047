package redlatch.driver;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** The protocol side of stdout: whole lines only, flushed one by one. */
final class Out {
    private final PrintStream stream;

    /** Takes stdout for the protocol; anything else that prints goes to stderr from now on. */
    Out() {
        stream = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        System.setOut(System.err);
    }

    synchronized void line(String line) {
        stream.print(line + "\n");
        stream.flush();
    }

    void ok(String id, long startNanos, String result) {
        String tail = result == null ? "" : " " + Tokens.encode(result);
        line(id + " ok " + elapsed(startNanos) + tail);
    }

    void err(String id, long startNanos, Throwable error) {
        line(id + " err " + elapsed(startNanos) + " " + error.getClass().getSimpleName()
                + " " + Tokens.encode(error.getMessage()));
    }

    /** One critical section of a contention run; both instants are epoch microseconds. */
    void interval(String id, String thread, long granted, long released) {
        line("iv " + id + " " + Tokens.encode(thread) + " " + granted + " " + released);
    }

    private static String elapsed(long startNanos) {
        return String.format(Locale.ROOT, "%.3f", (System.nanoTime() - startNanos) / 1e6);
    }
}
