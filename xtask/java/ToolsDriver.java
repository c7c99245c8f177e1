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
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;

/**
 * Runs many of Apache Kafka's command-line tools in one virtual machine, because starting one takes longer than
 * most tools do.
 *
 * <p>The script is a file with one JSON object a line: {@code name} (of the section to print), {@code tool},
 * {@code arguments}, {@code input}, {@code until} (repeat until the output contains this) and {@code limit_ms}.
 * A tool that is not known by name is a class. Programs that go on are {@link Programs}.
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
        Map.entry("kafka-streams-application-reset", "org.apache.kafka.tools.StreamsResetter"),
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

    /**
     * Programs in processes of their own, while tools look at what they do: {@code start NAME SERVER CLASS ARGUMENT…}
     * (see {@link Launcher}), {@code saw NAME TEXT} waits until its output has that text, {@code stop NAME} ends it as
     * {@code kill} does and {@code kill NAME} as {@code kill -9}, {@code ended NAME} waits until it ended by itself.
     * Its output stays in the working folder.
     */
    private static final class Programs {
        static final Set<String> COMMANDS = Set.of("start", "saw", "stop", "kill", "ended");

        private final Map<String, Process> running = new HashMap<>();

        Result command(String command, List<String> given, long limit) throws Exception {
            String name = given.get(0);
            Path said = Path.of(name + ".out");
            if (command.equals("start")) {
                List<String> line = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx192m",
                    "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=OFF",
                    "-Djava.io.tmpdir=" + Path.of("").toAbsolutePath(),
                    "-cp", System.getProperty("java.class.path"), "Launcher"));
                line.addAll(given.subList(1, given.size()));
                running.put(name, new ProcessBuilder(line)
                    .redirectOutput(said.toFile()).redirectError(Path.of(name + ".err").toFile()).start());
                return new Result("started", List.of());
            }
            if (command.equals("saw")) {
                long end = System.currentTimeMillis() + limit;
                while (!Files.readString(said).contains(given.get(1))) {
                    if (System.currentTimeMillis() > end) {
                        return new Result("not seen within " + limit + " ms", List.of());
                    }
                    Thread.sleep(10);
                }
                return new Result("seen", List.of());
            }
            Process process = running.remove(name);
            switch (command) {
                // Not the process's own method, which closes its standard input too.
                case "stop" -> process.toHandle().destroy();
                case "kill" -> process.destroyForcibly();
                default -> { }
            }
            if (!process.waitFor(limit, TimeUnit.MILLISECONDS)) {
                process.destroyForcibly();
                return new Result("did not end within " + limit + " ms", List.of());
            }
            return new Result("exit " + process.exitValue(), List.of());
        }

        void endAll() {
            running.values().forEach(Process::destroyForcibly);
        }
    }

    private static final Programs PROGRAMS = new Programs();

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
                String tool = step.get("tool").asText();
                result = Programs.COMMANDS.contains(tool)
                    ? PROGRAMS.command(tool, given, limit)
                    : run(tool, given, input, limit);
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
        PROGRAMS.endAll();
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
                Class<?> type = Class.forName(TOOLS.getOrDefault(tool, tool));
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
