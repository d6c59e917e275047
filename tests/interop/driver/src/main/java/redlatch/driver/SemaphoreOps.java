package redlatch.driver;

import static java.util.Map.entry;

import java.time.Duration;
import java.util.Map;

import org.redisson.api.RSemaphore;

/** What can be asked of a semaphore, whose name is the first argument. */
final class SemaphoreOps {
    private interface SemaphoreOp {
        Object run(RSemaphore semaphore, Call call) throws Exception;
    }

    private interface SemaphoreAction {
        void run(RSemaphore semaphore, Call call) throws Exception;
    }

    static final Map<String, Ops.Op> OPS = Map.ofEntries(
            entry("sacquire", action((semaphore, call) -> semaphore.acquire(count(call)))),
            entry("stryacquire", query((semaphore, call) -> semaphore.tryAcquire(count(call)))),
            entry("stryacquirefor", query((semaphore, call) ->
                    semaphore.tryAcquire(count(call), Duration.ofMillis(call.number(2))))),
            entry("srelease", action((semaphore, call) -> semaphore.release(count(call)))),
            entry("sreleaseifexists", query((semaphore, call) -> semaphore.releaseIfExists(count(call)))),
            entry("stryset", query((semaphore, call) -> semaphore.trySetPermits(count(call)))),
            entry("strysetfor", query((semaphore, call) ->
                    semaphore.trySetPermits(count(call), Duration.ofMillis(call.number(2))))),
            entry("sadd", action((semaphore, call) -> semaphore.addPermits(count(call)))),
            entry("sdrain", query((semaphore, call) -> semaphore.drainPermits())),
            entry("savailable", query((semaphore, call) -> semaphore.availablePermits())),
            entry("sdelete", query((semaphore, call) -> semaphore.delete())));

    private SemaphoreOps() {
    }

    private static int count(Call call) {
        return Math.toIntExact(call.number(1));
    }

    private static Ops.Op query(SemaphoreOp op) {
        return (worker, call) -> op.run(worker.driver.client.getSemaphore(call.text(0)), call);
    }

    private static Ops.Op action(SemaphoreAction op) {
        return query((semaphore, call) -> {
            op.run(semaphore, call);
            return null;
        });
    }
}
