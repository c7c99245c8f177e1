import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;

/**
 * Runs a class for as long as standard input is open, so that it never outlives whoever started it.
 *
 * <p>Apache Kafka's examples have the address {@code localhost:9092} written into them: in their classes it is
 * replaced by the address given.
 */
public final class Launcher {
    private static final String EXAMPLES = "org.apache.kafka.streams.examples.";
    private static final String WRITTEN_ADDRESS = "localhost:9092";
    private static final int UTF8 = 1;
    private static final int LONG = 5;
    private static final int DOUBLE = 6;

    /** Arguments: the address, the class, and what its main method gets. */
    public static void main(String[] arguments) throws Throwable {
        Thread watch = new Thread(Launcher::endWithInput, "standard input");
        watch.setDaemon(true);
        watch.start();
        String[] rest = Arrays.copyOfRange(arguments, 2, arguments.length);
        new Examples(arguments[0]).loadClass(arguments[1]).getMethod("main", String[].class).invoke(null, (Object) rest);
    }

    private static void endWithInput() {
        try {
            while (System.in.read() >= 0) { }
        } catch (IOException closed) {
            // As good as its end.
        }
        Runtime.getRuntime().halt(1);
    }

    /** Loads the examples itself, everything else as usual. */
    private static final class Examples extends ClassLoader {
        private final String address;

        Examples(String address) {
            super(Launcher.class.getClassLoader());
            this.address = address;
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                if (!name.startsWith(EXAMPLES)) {
                    return super.loadClass(name, resolve);
                }
                Class<?> loaded = findLoadedClass(name);
                return loaded == null ? define(name) : loaded;
            }
        }

        private Class<?> define(String name) throws ClassNotFoundException {
            try (InputStream file = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                if (file == null) {
                    throw new ClassNotFoundException(name);
                }
                byte[] bytes = readdressed(new DataInputStream(file));
                return defineClass(name, bytes, 0, bytes.length);
            } catch (IOException failure) {
                throw new ClassNotFoundException(name, failure);
            }
        }

        /** A class file's constants are a list of entries that nothing refers to by position in the file. */
        private byte[] readdressed(DataInputStream in) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            DataOutputStream out = new DataOutputStream(bytes);
            // The magic number and the versions.
            out.writeLong(in.readLong());
            int end = in.readUnsignedShort();
            out.writeShort(end);
            for (int index = 1; index < end; index++) {
                int tag = in.readUnsignedByte();
                out.writeByte(tag);
                if (tag == UTF8) {
                    String text = in.readUTF();
                    out.writeUTF(text.equals(WRITTEN_ADDRESS) ? address : text);
                } else {
                    out.write(in.readNBytes(length(tag)));
                }
                if (tag == LONG || tag == DOUBLE) {
                    // They count twice.
                    index++;
                }
            }
            in.transferTo(out);
            return bytes.toByteArray();
        }

        private static int length(int tag) {
            return switch (tag) {
                case LONG, DOUBLE -> 8;
                // Names of classes, strings, method types, modules and packages.
                case 7, 8, 16, 19, 20 -> 2;
                case 15 -> 3;
                default -> 4;
            };
        }
    }
}
