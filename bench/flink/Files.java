// The job over files that Regent's data plane benchmark runs, for Apache Flink: CSV files, filtered, aggregated by
// carrier, written to files. Bounded input in batch mode, so that each carrier is written once, as Regent does.
//
//   javac -cp 'LIB/*' -d OUT Files.java && java -Xmx2g -cp 'OUT:LIB/*' Files IN_DIR OUT_DIR ROWS PARALLELISM
//
// Runs everything in one JVM and prints one line: rows per second over the whole job, its start included.

import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringEncoder;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;

public class Files {
    public static void main(String[] args) throws Exception {
        long rows = Long.parseLong(args[2]);
        int parallelism = Integer.parseInt(args[3]);
        Configuration configuration = new Configuration();
        configuration.setString("rest.port", "0");
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(parallelism, configuration);
        env.setRuntimeMode(RuntimeExecutionMode.BATCH);
        env.getConfig().enableObjectReuse();
        FileSource<String> source =
                FileSource.forRecordStreamFormat(new TextLineInputFormat(), new Path(args[0])).build();
        FileSink<String> sink =
                FileSink.forRowFormat(new Path(args[1]), new SimpleStringEncoder<String>()).build();
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "flights")
                .flatMap((String line, Collector<Tuple4<String, Long, Long, Double>> out) -> {
                    String[] cells = line.split(",");
                    if (cells[0].equals("carrier")) {
                        return;
                    }
                    long distance = Long.parseLong(cells[2]);
                    if (distance >= 500) {
                        out.collect(Tuple4.of(cells[0], 1L, distance, Double.parseDouble(cells[3])));
                    }
                })
                .returns(TypeInformation.of(new TypeHint<Tuple4<String, Long, Long, Double>>() {}))
                .keyBy(row -> row.f0, Types.STRING)
                .reduce((a, b) -> Tuple4.of(a.f0, a.f1 + b.f1, a.f2 + b.f2, Math.max(a.f3, b.f3)))
                .map(row -> row.f0 + "," + row.f1 + "," + row.f2 + "," + row.f3)
                .returns(Types.STRING)
                .sinkTo(sink);
        long begun = System.nanoTime();
        env.execute("files");
        double seconds = (System.nanoTime() - begun) / 1e9;
        System.out.printf("seconds %.3f rows_per_second %.0f%n", seconds, rows / seconds);
    }
}
