package redlatch.driver;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

import org.redisson.config.NameMapper;

/**
 * Puts a fixed prefix before every object name, as services that share one server do.
 * Raw names (the test's own counter keys) are left alone, so both sides of a test name the same key.
 */
final class PrefixMapper implements NameMapper {
    private final String prefix;
    private final Set<String> raw = ConcurrentHashMap.newKeySet();

    PrefixMapper(String prefix) {
        this.prefix = prefix == null ? "" : prefix;
    }

    void keepRaw(String name) {
        raw.add(name);
    }

    @Override
    public String map(String name) {
        return raw.contains(name) ? name : prefix + name;
    }

    @Override
    public String unmap(String name) {
        return name.startsWith(prefix) ? name.substring(prefix.length()) : name;
    }
}
