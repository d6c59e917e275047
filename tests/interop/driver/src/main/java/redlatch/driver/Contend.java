package redlatch.driver;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;

import org.redisson.api.RBucket;
import org.redisson.api.RLock;
import org.redisson.client.codec.StringCodec;

/**
 * A contention run: threads fight for one lock and, while they hold it, raise a counter by a read and a write that
 * are two commands. A lost update or two overlapping intervals prove a broken lock.
 */
final class Contend implements Runnable {
    private record Interval(long granted, long released) {
    }

    /** What all threads of a run share. */
    private record Plan(String kind, String name, String counterKey, long endNanos, long thinkMs,
                        AtomicReference<Throwable> failure) {
        boolean over() {
            return failure.get() != null || System.nanoTime() - endNanos >= 0;
        }
    }

    private final Driver driver;
    private final Plan plan;
    private final List<Interval> intervals = new ArrayList<>();

    private Contend(Driver driver, Plan plan) {
        this.driver = driver;
        this.plan = plan;
    }

    /** Arguments: kind, name, counter key, duration in ms, threads, think time in ms. Result: number of cycles. */
    static Object run(Worker worker, Call call) throws Exception {
        Driver driver = worker.driver;
        driver.mapper.keepRaw(call.text(2));
        Plan plan = new Plan(call.text(0), call.text(1), call.text(2),
                System.nanoTime() + call.number(3) * 1_000_000, call.number(5), new AtomicReference<>());
        List<Contend> runs = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < call.number(4); i++) {
            Contend run = new Contend(driver, plan);
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
                driver.out.interval(call.id(), threads.get(i).getName(), interval.granted, interval.released);
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
            RLock lock = Kinds.create(driver.client, plan.kind, plan.name);
            RBucket<String> counter = driver.client.getBucket(plan.counterKey, StringCodec.INSTANCE);
            while (!plan.over()) {
                cycle(lock, counter);
            }
        } catch (Throwable e) {
            plan.failure.compareAndSet(null, e);
        }
    }

    private void cycle(RLock lock, RBucket<String> counter) throws InterruptedException {
        lock.lock();
        long granted = nowMicros();
        long released;
        try {
            String seen = counter.get();
            long value = seen == null ? 0 : Long.parseLong(seen);
            if (plan.thinkMs > 0) {
                Thread.sleep(plan.thinkMs);
            }
            counter.set(Long.toString(value + 1));
        } finally {
            released = nowMicros();
            intervals.add(new Interval(granted, released));
            lock.unlock();
        }
    }

    private static long nowMicros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }
}
