package redlatch.driver;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

import org.redisson.api.RLock;

/**
 * One named thread with its own queue: calls of one worker run in order, calls of two workers at the same time.
 * It keeps its lock objects, as application code does: a Redisson lock object remembers its last lease time.
 */
final class Worker implements Runnable {
    final String name;
    final Driver driver;
    private final Thread thread;
    private final BlockingQueue<Call> calls = new LinkedBlockingQueue<>();
    private final Map<String, RLock> locks = new HashMap<>();

    Worker(String name, Driver driver) {
        this.name = name;
        this.driver = driver;
        thread = new Thread(this, name);
        thread.setDaemon(true);
        thread.start();
    }

    void submit(Call call) {
        calls.add(call);
    }

    void interrupt() {
        thread.interrupt();
    }

    RLock lock(String kind, String name) {
        return locks.computeIfAbsent(kind + ' ' + name, key -> driver.lock(kind, name));
    }

    @Override
    public void run() {
        while (true) {
            Call call;
            try {
                call = calls.take();
            } catch (InterruptedException e) {
                continue;
            }
            long start = System.nanoTime();
            try {
                driver.out.ok(call.id(), start, Ops.run(this, call));
            } catch (Throwable e) {
                driver.out.err(call.id(), start, e);
            }
            // An interrupt belongs to the call it met; the next one starts clean.
            Thread.interrupted();
        }
    }
}
