package redlatch.driver;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;

import org.redisson.api.RBucket;
import org.redisson.api.RFencedLock;
import org.redisson.api.RLock;
import org.redisson.api.RReadWriteLock;
import org.redisson.client.codec.StringCodec;

/**
 * A contention run: threads fight for one lock and, while they hold it, raise a counter by a read and a write that
 * are two commands. A lost update or two overlapping intervals prove a broken lock. The kind {@code readwrite} stands
 * for both sides of one lock: one cycle in four writes, the others look whether somebody writes meanwhile, and the
 * threads' names end in {@code -w} and {@code -r}. Holders of a fenced lock also look whether the tokens rise.
 */
final class Contend implements Runnable {
    private static final int WRITE_EVERY = 4;

    private record Interval(String suffix, long granted, long released) {
    }

    /** What happens while the lock is held. */
    private interface Work {
        void run() throws InterruptedException;
    }

    /** What all threads of a run share. */
    private record Plan(String kind, String name, String counterKey, long endNanos, long thinkMs,
                        boolean goesOn, AtomicReference<Throwable> failure) {
        boolean over() {
            return failure.get() != null || System.nanoTime() - endNanos >= 0;
        }
    }

    private final Driver driver;
    private final Plan plan;
    private final int number;
    private final RBucket<String> counter;
    private final RBucket<String> lastToken;
    private final List<Interval> intervals = new ArrayList<>();

    private Contend(Driver driver, Plan plan, int number) {
        this.driver = driver;
        this.plan = plan;
        this.number = number;
        counter = driver.client.getBucket(plan.counterKey, StringCodec.INSTANCE);
        lastToken = driver.client.getBucket(plan.counterKey + ":token", StringCodec.INSTANCE);
    }

    /**
     * Arguments: kind, name, counter key, duration in ms, threads, think time in ms, and {@code goeson} where a failed
     * cycle is to be followed by the next. Result: number of cycles.
     */
    static Object run(Worker worker, Call call) throws Exception {
        Driver driver = worker.driver;
        driver.mapper.keepRaw(call.text(2));
        driver.mapper.keepRaw(call.text(2) + ":token");
        Plan plan = new Plan(call.text(0), call.text(1), call.text(2),
                System.nanoTime() + call.number(3) * 1_000_000, call.number(5),
                call.args().size() > 6 && call.text(6).equals("goeson"), new AtomicReference<>());
        List<Contend> runs = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < call.number(4); i++) {
            Contend run = new Contend(driver, plan, i);
            Thread thread = new Thread(run, worker.name + "-" + i);
            thread.setDaemon(true);
            runs.add(run);
            threads.add(thread);
        }
        threads.forEach(Thread::start);
        joinAll(threads, plan);

        int cycles = 0;
        for (int i = 0; i < runs.size(); i++) {
            for (Interval interval : runs.get(i).intervals) {
                driver.out.interval(call.id(), threads.get(i).getName() + interval.suffix, interval.granted, interval.released);
                cycles++;
            }
        }
        Throwable failure = plan.failure.get();
        if (failure instanceof Exception e) {
            throw e;
        }
        if (failure != null) {
            throw (Error) failure;
        }
        return cycles;
    }

    /** Waits for all threads; an interrupt of the worker ends the run. */
    private static void joinAll(List<Thread> threads, Plan plan) {
        for (int i = 0; i < threads.size(); ) {
            try {
                threads.get(i).join();
                i++;
            } catch (InterruptedException e) {
                plan.failure.compareAndSet(null, e);
                threads.forEach(Thread::interrupt);
            }
        }
    }

    @Override
    public void run() {
        try {
            if (plan.kind.equals("readwrite")) {
                readAndWrite(driver.client.getReadWriteLock(plan.name));
                return;
            }
            RLock lock = driver.lock(plan.kind, plan.name);
            Work work = lock instanceof RFencedLock fenced ? () -> raiseWithToken(fenced) : this::raise;
            while (!plan.over()) {
                try {
                    cycle(lock, "", work);
                } catch (RuntimeException e) {
                    if (!plan.goesOn) {
                        throw e;
                    }
                    System.err.println("a cycle failed: " + e);
                }
            }
        } catch (Throwable e) {
            plan.failure.compareAndSet(null, e);
        }
    }

    private void readAndWrite(RReadWriteLock lock) throws InterruptedException {
        for (int i = number; !plan.over(); i++) {
            if (i % WRITE_EVERY == 0) {
                cycle(lock.writeLock(), "-w", this::raise);
            } else {
                cycle(lock.readLock(), "-r", this::look);
            }
        }
    }

    private void cycle(RLock lock, String suffix, Work work) throws InterruptedException {
        lock.lock();
        long granted = nowMicros();
        long released;
        try {
            work.run();
        } finally {
            released = nowMicros();
            intervals.add(new Interval(suffix, granted, released));
            lock.unlock();
        }
    }

    private void raise() throws InterruptedException {
        long value = number(counter);
        if (plan.thinkMs > 0) {
            Thread.sleep(plan.thinkMs);
        }
        counter.set(Long.toString(value + 1));
    }

    private void look() {
        long value = number(counter);
        long again = number(counter);
        if (value != again) {
            throw new IllegalStateException("somebody wrote " + again + " over " + value + " while we read");
        }
    }

    private void raiseWithToken(RFencedLock lock) throws InterruptedException {
        long token = lock.getToken();
        long before = number(lastToken);
        if (before >= token) {
            throw new IllegalStateException("token " + token + " after " + before);
        }
        lastToken.set(Long.toString(token));
        raise();
    }

    private static long number(RBucket<String> bucket) {
        String seen = bucket.get();
        return seen == null ? 0 : Long.parseLong(seen);
    }

    static long nowMicros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }
}
