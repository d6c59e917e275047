package redlatch.driver;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;

import org.redisson.api.RFencedLock;
import org.redisson.api.RLock;
import org.redisson.api.RReadWriteLock;

/**
 * A recorded run: threads lock, enter again, count, wait in vain and unlock, by dice, and say of every operation when it was
 * called, when it returned and what came of it. A line has the ten words of the histories of {@code tests/support}; a
 * thread is called by its id, as in the owner's field on the server.
 */
final class Recorder implements Runnable {
    private static final int READ_OF = 4;
    private static final int REENTER_ONE_OF = 5;
    private static final int TRY_ONE_OF = 3;
    private static final int LONG_ONE_OF = 12;
    private static final int LONG_MS = 250;
    private static final int SHORT_MS = 12;
    private static final int PAUSE_MS = 25;

    /** What all threads of a run share. */
    private record Plan(Driver driver, String id, String process, long endNanos, long ttlMicros, List<String> locks) {
    }

    private final Plan plan;
    private final Random dice;

    private Recorder(Plan plan, long seed) {
        this.plan = plan;
        dice = new Random(seed);
    }

    /** Arguments: process, seed, duration in ms, threads, watchdog timeout in ms, then {@code kind:name} for each lock. */
    static Object run(Worker worker, Call call) throws InterruptedException {
        Plan plan = new Plan(worker.driver, call.id(), call.text(0), System.nanoTime() + call.number(2) * 1_000_000,
                call.number(4) * 1000, call.args().subList(5, call.args().size()));
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < call.number(3); i++) {
            Thread thread = new Thread(new Recorder(plan, call.number(1) + i), worker.name + "-" + i);
            thread.setDaemon(true);
            threads.add(thread);
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        return null;
    }

    @Override
    public void run() {
        try {
            while (System.nanoTime() - plan.endNanos < 0) {
                String[] lock = plan.locks.get(dice.nextInt(plan.locks.size())).split(":", 2);
                if (lock[0].equals("readwrite")) {
                    RReadWriteLock sides = plan.driver.client.getReadWriteLock(lock[1]);
                    boolean reads = dice.nextInt(READ_OF) > 0;
                    cycle(reads ? "read" : "write", lock[1], reads ? sides.readLock() : sides.writeLock());
                } else {
                    cycle(lock[0], lock[1], plan.driver.lock(lock[0].equals("plain") ? "lock" : lock[0], lock[1]));
                }
                Thread.sleep(dice.nextInt(PAUSE_MS));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void cycle(String kind, String name, RLock lock) throws InterruptedException {
        if (!lock(kind, name, lock)) {
            return;
        }
        // A fenced lock takes another number each time it is entered, which is Redisson's own way.
        boolean again = dice.nextInt(REENTER_ONE_OF) == 0 && !kind.equals("fenced") && lock(kind, name, lock);
        if (again || dice.nextInt(REENTER_ONE_OF) == 0) {
            count(kind, name, lock);
        }
        Thread.sleep(dice.nextInt(dice.nextInt(LONG_ONE_OF) == 0 ? LONG_MS : SHORT_MS));
        if (again) {
            unlock(kind, name, lock);
        }
        unlock(kind, name, lock);
        if (dice.nextInt(REENTER_ONE_OF) == 0) {
            count(kind, name, lock);
        }
    }

    private boolean lock(String kind, String name, RLock lock) throws InterruptedException {
        boolean tries = dice.nextInt(TRY_ONE_OF) == 0;
        long wait = dice.nextInt(LONG_MS);
        long called = Contend.nowMicros();
        String outcome;
        try {
            if (lock instanceof RFencedLock fenced) {
                Long token = tries ? fenced.tryLockAndGetToken(wait, -1, TimeUnit.MILLISECONDS) : fenced.lockAndGetToken();
                outcome = token == null ? "refused" : "granted(" + token + ")";
            } else if (tries) {
                outcome = lock.tryLock(wait, -1, TimeUnit.MILLISECONDS) ? "granted" : "refused";
            } else {
                lock.lock();
                outcome = "granted";
            }
        } catch (RuntimeException e) {
            outcome = failed("lock", e);
        }
        say(kind, name, "lock", called, outcome);
        return outcome.startsWith("granted");
    }

    private void unlock(String kind, String name, RLock lock) {
        long called = Contend.nowMicros();
        String outcome;
        try {
            lock.unlock();
            outcome = "released";
        } catch (IllegalMonitorStateException e) {
            outcome = "lost(" + called + ")";
        } catch (RuntimeException e) {
            outcome = failed("unlock", e);
        }
        say(kind, name, "unlock", called, outcome);
    }

    private void count(String kind, String name, RLock lock) {
        long called = Contend.nowMicros();
        String outcome;
        try {
            outcome = "counted(" + lock.getHoldCount() + ")";
        } catch (RuntimeException e) {
            outcome = failed("count", e);
        }
        say(kind, name, "count", called, outcome);
    }

    private static String failed(String action, RuntimeException e) {
        System.err.println(action + " failed: " + e);
        return "error";
    }

    private void say(String kind, String name, String action, long called, String outcome) {
        plan.driver.out.line(String.join(" ", "op", plan.id, plan.process,
                Long.toString(Thread.currentThread().getId()), kind, name, action, Long.toString(called),
                Long.toString(Contend.nowMicros()), Long.toString(plan.ttlMicros), outcome, "-"));
    }
}
