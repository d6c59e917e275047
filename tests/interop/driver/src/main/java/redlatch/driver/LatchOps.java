package redlatch.driver;

import static java.util.Map.entry;

import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.redisson.api.RCountDownLatch;

/** What can be asked of a latch, whose name is the first argument. */
final class LatchOps {
    private interface LatchOp {
        Object run(RCountDownLatch latch, Call call) throws Exception;
    }

    private interface LatchAction {
        void run(RCountDownLatch latch, Call call) throws Exception;
    }

    static final Map<String, Ops.Op> OPS = Map.ofEntries(
            entry("ltryset", query((latch, call) -> latch.trySetCount(call.number(1)))),
            entry("lcountdown", action((latch, call) -> latch.countDown())),
            entry("lcount", query((latch, call) -> latch.getCount())),
            entry("lawait", action((latch, call) -> latch.await())),
            entry("lawaitfor", query((latch, call) -> latch.await(call.number(1), TimeUnit.MILLISECONDS))),
            entry("ldelete", query((latch, call) -> latch.delete())));

    private LatchOps() {
    }

    private static Ops.Op query(LatchOp op) {
        return (worker, call) -> op.run(worker.driver.client.getCountDownLatch(call.text(0)), call);
    }

    private static Ops.Op action(LatchAction op) {
        return query((latch, call) -> {
            op.run(latch, call);
            return null;
        });
    }
}
