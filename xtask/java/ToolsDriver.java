import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;

/**
 * Runs many of Apache Kafka's command-line tools in one virtual machine, because starting one takes longer than
 * most tools do.
 *
 * <p>The script is a file with one JSON object a line: {@code name} (of the section to print), {@code tool},
 * {@code arguments}, {@code input}, {@code until} (repeat until the output contains this) and {@code limit_ms}.
 */
public final class ToolsDriver {
    private static final Map<String, String> TOOLS = Map.ofEntries(
        Map.entry("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
        Map.entry("kafka-configs", "kafka.admin.ConfigCommand"),
        Map.entry("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
        Map.entry("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        Map.entry("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
        Map.entry("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
        Map.entry("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
        Map.entry("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
        Map.entry("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments"),
        Map.entry("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
        Map.entry("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
        Map.entry("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
        Map.entry("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
        Map.entry("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
        Map.entry("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
        Map.entry("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
        Map.entry("kafka-streams-groups", "org.apache.kafka.tools.streams.StreamsGroupCommand"),
        Map.entry("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
        Map.entry("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
        Map.entry("kafka-share-groups", "org.apache.kafka.tools.consumer.group.ShareGroupCommand"),
        Map.entry("kafka-console-share-consumer", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"),
        Map.entry("kafka-storage", "kafka.tools.StorageTool"));

    /** Where the running tool's output goes; late threads of an earlier tool keep writing to their own. */
    private static final AtomicReference<ByteArrayOutputStream> OUT = new AtomicReference<>();
    private static final AtomicReference<ByteArrayOutputStream> ERR = new AtomicReference<>();

    /** What a tool wants done when its process would end. */
    private static final Queue<Runnable> HOOKS = new ConcurrentLinkedQueue<>();

    private static final class ExitCalled extends Error {
        final int code;
        final String text;

        ExitCalled(int code, String text) {
            super(null, null, false, false);
            this.code = code;
            this.text = text;
        }
    }

    private record Result(String exit, List<String> lines) { }

    public static void main(String[] arguments) throws Exception {
        PrintStream real = System.out;
        PrintStream times = System.err;
        System.setOut(redirected(OUT));
        System.setErr(redirected(ERR));
        interceptExit();
        ObjectMapper mapper = new ObjectMapper();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            JsonNode step = mapper.readTree(line);
            List<String> given = new ArrayList<>();
            step.get("arguments").forEach(it -> given.add(it.asText()));
            String input = step.path("input").asText("");
            String until = step.path("until").asText("");
            long limit = step.path("limit_ms").asLong(30_000);
            long begin = System.currentTimeMillis();
            long end = begin + limit;
            Result result;
            while (true) {
                result = run(step.get("tool").asText(), given, input, limit);
                boolean reached = until.isEmpty() || String.join("\n", result.lines).contains(until);
                if (reached || System.currentTimeMillis() > end) {
                    break;
                }
                Thread.sleep(100);
            }
            real.println("## " + step.get("name").asText());
            result.lines.forEach(real::println);
            real.println(result.exit);
            real.flush();
            times.println((System.currentTimeMillis() - begin) + " ms: " + step.get("name").asText());
        }
        // Threads that a tool left behind must not keep this one alive.
        Runtime.getRuntime().halt(0);
    }

    /** Kafka's own way to end a process, which moved to another package with 4.4. */
    private static void interceptExit() throws ReflectiveOperationException {
        Class<?> exit;
        try {
            exit = Class.forName("org.apache.kafka.common.utils.Exit");
        } catch (ClassNotFoundException moved) {
            exit = Class.forName("org.apache.kafka.common.utils.internals.Exit");
        }
        for (Method method : exit.getMethods()) {
            switch (method.getName()) {
                case "setExitProcedure", "setHaltProcedure" -> intercept(method, given -> {
                    throw new ExitCalled((Integer) given[0], (String) given[1]);
                });
                case "setShutdownHookAdder" -> intercept(method, given -> HOOKS.add((Runnable) given[1]));
                default -> { }
            }
        }
    }

    private static void intercept(Method setter, Consumer<Object[]> behaviour) throws ReflectiveOperationException {
        Class<?> type = setter.getParameterTypes()[0];
        setter.invoke(null, Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, method, given) -> {
            behaviour.accept(given);
            return null;
        }));
    }

    private static PrintStream redirected(AtomicReference<ByteArrayOutputStream> to) {
        return new PrintStream(new OutputStream() {
            @Override
            public void write(int one) {
                ByteArrayOutputStream now = to.get();
                if (now != null) {
                    now.write(one);
                }
            }

            @Override
            public void write(byte[] bytes, int offset, int length) {
                ByteArrayOutputStream now = to.get();
                if (now != null) {
                    now.write(bytes, offset, length);
                }
            }
        }, true, StandardCharsets.UTF_8);
    }

    private static Result run(String tool, List<String> arguments, String input, long limit) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        OUT.set(out);
        ERR.set(err);
        InputStream before = System.in;
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        AtomicReference<String> exit = new AtomicReference<>("exit 0");
        Thread thread = new Thread(() -> {
            try {
                Class<?> type = Class.forName(TOOLS.get(tool));
                type.getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
            } catch (InvocationTargetException wrapped) {
                exit.set(ending(wrapped.getCause()));
            } catch (Throwable failure) {
                exit.set(ending(failure));
            }
        }, tool);
        thread.setDaemon(true);
        thread.start();
        thread.join(limit);
        if (thread.isAlive()) {
            exit.set("did not end within " + limit + " ms");
            thread.interrupt();
            thread.join(2_000);
        }
        while (!HOOKS.isEmpty()) {
            HOOKS.remove().run();
        }
        System.setIn(before);
        OUT.set(null);
        ERR.set(null);
        List<String> lines = new ArrayList<>();
        add(lines, "", out);
        add(lines, "err: ", err);
        return new Result(exit.get(), lines);
    }

    private static String ending(Throwable failure) {
        if (failure instanceof ExitCalled called) {
            return "exit " + called.code + (called.text == null ? "" : " " + called.text);
        }
        return "thrown " + failure;
    }

    /** Leaves out stack traces, whose line numbers are nobody's interface. */
    private static void add(List<String> lines, String prefix, ByteArrayOutputStream from) {
        for (String line : from.toString(StandardCharsets.UTF_8).split("\n")) {
            String text = line.stripTrailing();
            if (!text.isEmpty() && !text.startsWith("\tat ") && !text.startsWith("\t... ")) {
                lines.add(prefix + text);
            }
        }
    }
}
