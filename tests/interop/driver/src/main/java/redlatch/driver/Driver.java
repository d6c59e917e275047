package redlatch.driver;

import java.io.BufferedReader;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;

/** Reads request lines and hands them to the workers they name. */
final class Driver {
    final RedissonClient client;
    /** One for each independent server, the first of all among them. */
    private final List<RedissonClient> clients;
    final PrefixMapper mapper;
    final Out out;
    private final Map<String, Worker> workers = new HashMap<>();

    Driver(List<RedissonClient> clients, PrefixMapper mapper, Out out) {
        this.client = clients.get(0);
        this.clients = clients;
        this.mapper = mapper;
        this.out = out;
    }

    /** A new lock object of any kind. */
    RLock lock(String kind, String name) {
        RLock set = SetKinds.create(clients, kind, name);
        return set == null ? Kinds.create(client, kind, name) : set;
    }

    /** Runs until `quit` or the end of the input. */
    void serve(BufferedReader input) throws IOException {
        String line;
        while ((line = input.readLine()) != null) {
            String[] tokens = line.trim().split(" +");
            if (tokens[0].isEmpty()) {
                continue;
            }
            if (tokens[0].equals("quit")) {
                return;
            }
            long start = System.nanoTime();
            try {
                if (tokens.length < 3) {
                    throw new IllegalArgumentException("a line is <id> <worker> <op> <args...>");
                }
                if (tokens[2].equals("quit")) {
                    out.ok(tokens[0], start, null);
                    return;
                }
                dispatch(tokens, start);
            } catch (RuntimeException e) {
                out.err(tokens[0], start, e);
            }
        }
    }

    private void dispatch(String[] tokens, long start) {
        List<String> args = new ArrayList<>();
        for (int i = 3; i < tokens.length; i++) {
            args.add(Tokens.decode(tokens[i]));
        }
        Call call = new Call(tokens[0], tokens[2], args);
        if (call.op().equals("interrupt")) {
            // The worker itself is busy with the call to interrupt, so this one is answered here.
            Worker target = workers.get(call.text(0));
            if (target != null) {
                target.interrupt();
            }
            out.ok(call.id(), start, Boolean.toString(target != null));
            return;
        }
        String name = Tokens.decode(tokens[1]);
        if (name == null) {
            throw new IllegalArgumentException(call.op() + " needs a worker");
        }
        workers.computeIfAbsent(name, n -> new Worker(n, this)).submit(call);
    }
}
