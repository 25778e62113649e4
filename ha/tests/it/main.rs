//! Clusters of one, three and five replicas in one process, over real sockets and real disks.

mod cluster;
mod founding;
mod identity;
mod leading;
mod restarting;
mod snapshots;
