package redlatch.driver;

import static java.util.Map.entry;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.redisson.api.RPermitExpirableSemaphore;

/** What can be asked of a semaphore with permit ids, whose name is the first argument. Ids are joined by commas. */
final class PermitOps {
    private interface PermitOp {
        Object run(RPermitExpirableSemaphore semaphore, Call call) throws Exception;
    }

    private interface PermitAction {
        void run(RPermitExpirableSemaphore semaphore, Call call) throws Exception;
    }

    static final Map<String, Ops.Op> OPS = Map.ofEntries(
            entry("pacquire", query((semaphore, call) ->
                    joined(semaphore.acquire(count(call), call.number(2), TimeUnit.MILLISECONDS)))),
            entry("ptryacquire", query((semaphore, call) -> joined(
                    semaphore.tryAcquire(count(call), call.number(2), call.number(3), TimeUnit.MILLISECONDS)))),
            entry("prelease", action((semaphore, call) -> semaphore.release(call.text(1)))),
            entry("ptryrelease", query((semaphore, call) -> semaphore.tryRelease(call.text(1)))),
            entry("preleaseall", action((semaphore, call) -> semaphore.release(ids(call)))),
            entry("ptryreleaseall", query((semaphore, call) -> semaphore.tryRelease(ids(call)))),
            entry("pavailable", query((semaphore, call) -> semaphore.availablePermits())),
            entry("pacquired", query((semaphore, call) -> semaphore.acquiredPermits())),
            entry("ppermits", query((semaphore, call) -> semaphore.getPermits())),
            entry("ptryset", query((semaphore, call) -> semaphore.trySetPermits(count(call)))),
            entry("pset", action((semaphore, call) -> semaphore.setPermits(count(call)))),
            entry("padd", action((semaphore, call) -> semaphore.addPermits(count(call)))),
            entry("pupdatelease", query((semaphore, call) ->
                    semaphore.updateLeaseTime(call.text(1), call.number(2), TimeUnit.MILLISECONDS))),
            entry("pleasetime", query((semaphore, call) -> semaphore.getLeaseTime(call.text(1)))),
            entry("pdelete", query((semaphore, call) -> semaphore.delete())));

    private PermitOps() {
    }

    private static int count(Call call) {
        return Math.toIntExact(call.number(1));
    }

    private static List<String> ids(Call call) {
        return Arrays.asList(call.text(1).split(","));
    }

    private static String joined(List<String> ids) {
        return ids == null ? "" : String.join(",", ids);
    }

    private static Ops.Op query(PermitOp op) {
        return (worker, call) -> op.run(worker.driver.client.getPermitExpirableSemaphore(call.text(0)), call);
    }

    private static Ops.Op action(PermitAction op) {
        return query((semaphore, call) -> {
            op.run(semaphore, call);
            return null;
        });
    }
}
