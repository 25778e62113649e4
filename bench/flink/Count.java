// The job that Regent's data plane benchmark runs, for Apache Flink: numbers, counted by key, thrown away.
//
//   javac -cp 'LIB/*' -d OUT Count.java && java -Xmx2g -cp 'OUT:LIB/*' Count RECORDS KEYS PARALLELISM REUSE CHECKPOINTS_MS DIR
//
// Runs everything in one JVM and prints one line: records per second over the whole job, its start included.

import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;

public class Count {
    public static void main(String[] args) throws Exception {
        long records = Long.parseLong(args[0]);
        long keys = Long.parseLong(args[1]);
        int parallelism = Integer.parseInt(args[2]);
        boolean reuse = Boolean.parseBoolean(args[3]);
        long checkpointsMs = Long.parseLong(args[4]);

        Configuration configuration = new Configuration();
        configuration.setString("rest.port", "0");
        configuration.setString("execution.checkpointing.dir", "file://" + args[5]);
        StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(parallelism, configuration);
        if (reuse) {
            env.getConfig().enableObjectReuse();
        }
        if (checkpointsMs > 0) {
            env.enableCheckpointing(checkpointsMs);
        }
        env.fromSequence(0, records - 1)
                .map(value -> Tuple2.of(value % keys, 1L))
                .returns(TypeInformation.of(new TypeHint<Tuple2<Long, Long>>() {}))
                .keyBy(pair -> pair.f0, TypeInformation.of(Long.class))
                .reduce((a, b) -> Tuple2.of(a.f0, a.f1 + b.f1))
                .sinkTo(new DiscardingSink<>());
        long begun = System.nanoTime();
        env.execute("count");
        double seconds = (System.nanoTime() - begun) / 1e9;
        System.out.printf("seconds %.3f records_per_second %.0f%n", seconds, records / seconds);
    }
}
