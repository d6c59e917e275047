package redlatch.driver.peer;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;

import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;

/** Many names that are held or waited for, each by an owner of its own; nobody has a thread for each. */
final class Crowd {
    private static final int HOLDING_TASKS = 64;

    private final RedissonClient client;
    private final List<Held> held = new ArrayList<>();
    private final List<CompletableFuture<Void>> waiting = new ArrayList<>();
    private final AtomicLong last = new AtomicLong();
    private final AtomicLong granted = new AtomicLong();

    private record Held(RLock lock, long owner) {
    }

    Crowd(RedissonClient client) {
        this.client = client;
    }

    /** Owners are numbers that no thread has. */
    private Held named(String prefix, int number) {
        return new Held(client.getLock(prefix + number), 1_000_000L + number);
    }

    String hold(int names, String prefix) throws Exception {
        long started = System.nanoTime();
        inTasks(names, number -> named(prefix, number), lock -> {
            lock.lock.lockAsync(lock.owner).toCompletableFuture().join();
            return true;
        }).forEach(held::add);
        return "held " + held.size() + " " + (System.nanoTime() - started) / 1_000;
    }

    String release() throws Exception {
        long start = Run.nowMicros();
        List<Held> released = inTasks(held.size(), held::get, lock -> {
            try {
                lock.lock.unlockAsync(lock.owner).toCompletableFuture().join();
                return true;
            } catch (RuntimeException e) {
                return false;
            }
        });
        held.clear();
        return "released " + released.size() + " " + start;
    }

    String await(int names, String prefix) {
        for (int number = 0; number < names; number++) {
            Held wanted = named(prefix, number);
            waiting.add(wanted.lock.lockAsync(wanted.owner).toCompletableFuture().thenRun(() -> {
                granted.incrementAndGet();
                long now = Run.nowMicros();
                last.updateAndGet(before -> Math.max(before, now));
            }));
        }
        return "waiting";
    }

    String granted(Duration within) throws Exception {
        CompletableFuture<Void> all = CompletableFuture.allOf(waiting.toArray(CompletableFuture[]::new));
        try {
            // Those that have failed end it only when the others have ended too.
            all.exceptionally(failed -> null).get(within.toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            // Who has it not by now, does not have it.
        }
        return "granted " + granted + " " + last;
    }

    private interface Source {
        Held number(int number);
    }

    private interface Act {
        boolean succeeds(Held lock);
    }

    /** Acts on so many in as many threads as there are holding tasks; gives those on which it succeeded. */
    private static List<Held> inTasks(int count, Source source, Act act) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(HOLDING_TASKS);
        try {
            List<Callable<List<Held>>> works = new ArrayList<>();
            for (int task = 0; task < HOLDING_TASKS; task++) {
                int from = task;
                works.add(() -> {
                    List<Held> done = new ArrayList<>();
                    for (int number = from; number < count; number += HOLDING_TASKS) {
                        Held lock = source.number(number);
                        if (act.succeeds(lock)) {
                            done.add(lock);
                        }
                    }
                    return done;
                });
            }
            List<Held> all = new ArrayList<>();
            for (Future<List<Held>> done : threads.invokeAll(works)) {
                all.addAll(done.get());
            }
            return all;
        } finally {
            threads.shutdown();
        }
    }
}
