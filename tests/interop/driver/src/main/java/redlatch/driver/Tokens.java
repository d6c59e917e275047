package redlatch.driver;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/**
 * The token coding of the line protocol: UTF-8 with percent escapes, so that a token never holds a space.
 * A lone {@code %} is the empty string, a lone {@code -} is "absent" (null).
 */
final class Tokens {
    private static final String SAFE = "._~:/{}-";

    private Tokens() {
    }

    static String decode(String token) {
        if (token.equals("-")) {
            return null;
        }
        if (token.equals("%")) {
            return "";
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream(token.length());
        byte[] bytes = token.getBytes(StandardCharsets.UTF_8);
        for (int i = 0; i < bytes.length; i++) {
            if (bytes[i] != '%') {
                out.write(bytes[i]);
                continue;
            }
            int high = i + 1 < bytes.length ? Character.digit(bytes[i + 1], 16) : -1;
            int low = i + 2 < bytes.length ? Character.digit(bytes[i + 2], 16) : -1;
            if (high < 0 || low < 0) {
                throw new IllegalArgumentException("bad percent escape in " + token);
            }
            out.write(high * 16 + low);
            i += 2;
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    static String encode(String text) {
        if (text == null) {
            return "-";
        }
        if (text.isEmpty()) {
            return "%";
        }
        if (text.equals("-")) {
            return "%2D";
        }
        StringBuilder out = new StringBuilder(text.length());
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            boolean plain = b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
                    || SAFE.indexOf(b) >= 0;
            if (plain) {
                out.append((char) b);
            } else {
                out.append(String.format("%%%02X", b & 0xff));
            }
        }
        return out.toString();
    }
}
