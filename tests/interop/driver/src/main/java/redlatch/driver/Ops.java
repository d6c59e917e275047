package redlatch.driver;

import static java.util.Map.entry;

import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

import org.redisson.api.RLock;

/** What a worker can be asked to do; a new operation is one more entry. */
final class Ops {
    /** Returns the result text, or null for an operation that has none. */
    interface Op {
        Object run(Worker worker, Call call) throws Exception;
    }

    /** An operation on the lock named by the first two arguments, kind and name. */
    private interface LockOp {
        Object run(RLock lock, Call call) throws Exception;
    }

    /** A lock operation without a result. */
    private interface LockAction {
        void run(RLock lock, Call call) throws Exception;
    }

    private static final Map<String, Op> OPS = Map.ofEntries(
            entry("lock", action((lock, call) -> lock.lock())),
            entry("lockint", action((lock, call) -> lock.lockInterruptibly())),
            entry("lockfor", action((lock, call) -> lock.lock(call.number(2), TimeUnit.MILLISECONDS))),
            entry("trylock", query((lock, call) -> lock.tryLock())),
            entry("trylockfor", query((lock, call) ->
                    lock.tryLock(call.number(2), call.number(3), TimeUnit.MILLISECONDS))),
            entry("unlock", action((lock, call) -> lock.unlock())),
            entry("forceunlock", query((lock, call) -> lock.forceUnlock())),
            entry("islocked", query((lock, call) -> lock.isLocked())),
            entry("isheld", query((lock, call) -> lock.isHeldByCurrentThread())),
            entry("isheldby", query((lock, call) -> lock.isHeldByThread(call.number(2)))),
            entry("holdcount", query((lock, call) -> lock.getHoldCount())),
            entry("ttl", query((lock, call) -> lock.remainTimeToLive())),
            entry("locktoken", query(FencedOps::lockAndGetToken)),
            entry("trylocktoken", query(FencedOps::tryLockAndGetToken)),
            entry("gettoken", query(FencedOps::getToken)),
            entry("threadid", (worker, call) -> Thread.currentThread().getId()),
            entry("contend", Contend::run),
            entry("record", Recorder::run));

    private Ops() {
    }

    static String run(Worker worker, Call call) throws Exception {
        Op op = Stream.of(OPS, SemaphoreOps.OPS, PermitOps.OPS, LatchOps.OPS)
                .map(ops -> ops.get(call.op()))
                .filter(Objects::nonNull)
                .findFirst()
                .orElse(null);
        if (op == null) {
            throw new IllegalArgumentException("unknown operation " + call.op());
        }
        Object result = op.run(worker, call);
        return result == null ? null : result.toString();
    }

    private static Op query(LockOp op) {
        return (worker, call) -> op.run(worker.lock(call.text(0), call.text(1)), call);
    }

    private static Op action(LockAction op) {
        return query((lock, call) -> {
            op.run(lock, call);
            return null;
        });
    }
}
