//! ZooKeeper's servers, from the jars of Debian's package.

use std::path::Path;

use super::cluster::Plan;
use crate::Outcome;
use crate::process::installed;

/// The jar whose manifest names all others.
const JAR: &str = "/usr/share/java/zookeeper.jar";

/// What is missing here, if anything.
pub(super) fn missing() -> Option<&'static str> {
    match (Path::new(JAR).exists(), installed("java")) {
        (true, true) => None,
        (false, _) => Some("no /usr/share/java/zookeeper.jar; apt-get install zookeeper"),
        (true, false) => Some("no java on the PATH; apt-get install default-jre-headless"),
    }
}

/// Three servers with the timing of the sample configuration.
pub(super) fn plan(dir: &Path) -> Outcome<Plan> {
    let ports = std::array::from_fn::<u16, 9, _>(|_| regent_ports::free_port());
    let servers: String = (0..3)
        .map(|n| {
            format!(
                "server.{}=127.0.0.1:{}:{}\n",
                n + 1,
                ports[3 + n],
                ports[6 + n]
            )
        })
        .collect();
    let mut commands = Vec::new();
    for (number, port) in ports.iter().take(3).enumerate() {
        let data = dir.join(format!("zk-{}", number + 1));
        std::fs::create_dir_all(&data)?;
        std::fs::write(data.join("myid"), format!("{}\n", number + 1))?;
        let config = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n\
             4lw.commands.whitelist=srvr\n{servers}",
            data.display(),
            port,
        );
        let file = dir.join(format!("zk-{}.cfg", number + 1));
        std::fs::write(&file, config)?;
        commands.push(vec![
            "java".to_owned(),
            "-Xmx1g".to_owned(),
            "-cp".to_owned(),
            JAR.to_owned(),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
            file.display().to_string(),
        ]);
    }
    Ok(Plan {
        commands,
        endpoints: ports[..3]
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect(),
    })
}
