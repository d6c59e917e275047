package redlatch.driver;

import java.util.concurrent.TimeUnit;

import org.redisson.api.RFencedLock;
import org.redisson.api.RLock;

/** What only a fenced lock can do. */
final class FencedOps {
    private FencedOps() {
    }

    static Object lockAndGetToken(RLock lock, Call call) {
        return fenced(lock).lockAndGetToken();
    }

    /**
     * With a wait in ms and a lease in ms, or -1: the token, or null when the lock is busy for that long. Redisson's call
     * without a wait blocks while the lock is busy, so it never gives null.
     */
    static Object tryLockAndGetToken(RLock lock, Call call) {
        if (call.args().size() > 2) {
            return fenced(lock).tryLockAndGetToken(call.number(2), call.number(3), TimeUnit.MILLISECONDS);
        }
        return fenced(lock).tryLockAndGetToken();
    }

    static Object getToken(RLock lock, Call call) {
        return fenced(lock).getToken();
    }

    private static RFencedLock fenced(RLock lock) {
        if (lock instanceof RFencedLock fenced) {
            return fenced;
        }
        throw new IllegalArgumentException("only a fenced lock has tokens");
    }
}
