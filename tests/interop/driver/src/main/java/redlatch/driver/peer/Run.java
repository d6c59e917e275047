package redlatch.driver.peer;

import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

import org.redisson.api.RLock;
import org.redisson.api.RReadWriteLock;
import org.redisson.api.RedissonClient;

/** Threads that lock and unlock for some time. */
final class Run {
    private static final int WRITE_EVERY = 10;

    private record Section(boolean writes, long asked, long granted, long released) {
    }

    /** What one thread has done. */
    private record Share(long task, long count, List<Section> sections) {
    }

    private final RedissonClient client;
    private final String kind;
    private final boolean shared;
    private final int tasks;
    private final int first;
    private final long heldMs;
    private final int depth;
    private final String name;
    private final long nanos;
    private final Path file;

    Run(RedissonClient client, String[] words) {
        this.client = client;
        kind = words[1];
        shared = words[2].equals("shared");
        tasks = Integer.parseInt(words[3]);
        first = Integer.parseInt(words[4]);
        heldMs = Long.parseLong(words[5]);
        depth = Integer.parseInt(words[6]);
        name = words[7];
        nanos = Long.parseLong(words[8]) * 1_000_000;
        file = Path.of(words[9]);
    }

    String run() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(tasks);
        try {
            long start = nowMicros();
            long started = System.nanoTime();
            List<Callable<Share>> works = new ArrayList<>();
            for (int task = first; task < first + tasks; task++) {
                long number = task;
                works.add(() -> work(number, started + nanos));
            }
            List<Share> shares = new ArrayList<>();
            for (Future<Share> share : threads.invokeAll(works)) {
                shares.add(share.get());
            }
            long elapsed = (System.nanoTime() - started) / 1_000;
            StringBuilder answer = new StringBuilder("ran " + start + " " + elapsed);
            shares.forEach(share -> answer.append(' ').append(share.count));
            if (shared) {
                write(shares);
            }
            return answer.toString();
        } finally {
            threads.shutdown();
        }
    }

    private Share work(long task, long endNanos) throws InterruptedException {
        String own = shared ? name : name + ":" + task;
        RReadWriteLock both = kind.equals("readwrite") ? client.getReadWriteLock(own) : null;
        RLock lock = kind.equals("fair") ? client.getFairLock(own) : client.getLock(own);
        List<Section> sections = new ArrayList<>();
        long count = 0;
        for (; System.nanoTime() - endNanos < 0; count++) {
            boolean writes = true;
            if (both != null) {
                writes = (task + count) % WRITE_EVERY == 0;
                lock = writes ? both.writeLock() : both.readLock();
            }
            long asked = shared ? nowMicros() : 0;
            for (int i = 0; i < depth; i++) {
                lock.lock();
            }
            long granted = shared ? nowMicros() : 0;
            if (heldMs > 0) {
                Thread.sleep(heldMs);
            }
            if (shared) {
                sections.add(new Section(writes, asked, granted, nowMicros()));
            }
            for (int i = 0; i < depth; i++) {
                lock.unlock();
            }
        }
        return new Share(task, count, sections);
    }

    private void write(List<Share> shares) throws Exception {
        try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(file))) {
            for (Share share : shares) {
                for (Section section : share.sections) {
                    out.println(share.task + (section.writes ? " w " : " r ") + section.asked + " "
                            + section.granted + " " + section.released);
                }
            }
        }
    }

    static long nowMicros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }
}
