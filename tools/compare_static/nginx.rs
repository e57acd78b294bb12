//! The part of nginx's configuration that all comparisons share: tuned as an expert would.
//!
//! Input: limits and the blocks of `http`.   Output: a configuration file's text.
//! Owns: nothing.   Thread: the only one.
//! Invariant: all that nginx writes lies below its own directory.
//! Source: one pinned worker, sendfile, tcp_nopush, open_file_cache, no access log.

use std::path::Path;

use crate::sys;

/// What one nginx may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The core its worker is pinned to.
    pub cpu: usize,
    /// `worker_connections`.
    pub connections: u32,
    /// `worker_rlimit_nofile`.
    pub descriptors: u64,
    /// `open_file_cache max=`: nginx keeps a descriptor for each.
    pub open_files: u64,
}

/// A configuration of nginx in `dir`, around `http`: the blocks of its `http` block.
pub fn conf(dir: &Path, limits: Limits, http: &str) -> String {
    let Limits { cpu, connections, descriptors, open_files } = limits;
    let dir = dir.display();
    let user = if sys::is_root() { "user root;\n" } else { "" };
    let mask = format!("1{}", "0".repeat(cpu));
    format!(
        "{user}daemon off;\nmaster_process on;\nworker_processes 1;\n\
         worker_cpu_affinity {mask};\nworker_rlimit_nofile {descriptors};\n\
         pid \"{dir}/nginx.pid\";\nerror_log \"{dir}/error.log\";\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
         types {{ }}\ndefault_type image/jpeg;\n\
         access_log off;\nsendfile on;\ntcp_nopush on;\n\
         open_file_cache max={open_files} inactive=60s;\n\
         keepalive_requests 1000000;\n\
         client_body_temp_path \"{dir}/t1\";\nproxy_temp_path \"{dir}/t2\";\n\
         fastcgi_temp_path \"{dir}/t3\";\nuwsgi_temp_path \"{dir}/t4\";\n\
         scgi_temp_path \"{dir}/t5\";\n{http}}}\n"
    )
}
