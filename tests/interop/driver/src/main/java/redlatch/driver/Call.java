package redlatch.driver;

import java.util.List;

/** One request line: who asked, what for, with which decoded arguments. */
record Call(String id, String op, List<String> args) {
    String text(int index) {
        if (index >= args.size() || args.get(index) == null) {
            throw new IllegalArgumentException(op + " needs argument " + (index + 1));
        }
        return args.get(index);
    }

    long number(int index) {
        return Long.parseLong(text(index));
    }
}
