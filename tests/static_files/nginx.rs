//! nginx as Debian has it, with its own types.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::bed::{eventually, free_port};

/// A running nginx; killed when dropped.
pub struct Nginx {
    pub address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Serves `root` as a static site is configured there most often.
    pub async fn serving(root: &Path) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}\n\
             http {{\n\
               include /etc/nginx/mime.types; default_type application/octet-stream;\n\
               charset utf-8; charset_types text/css text/csv text/plain text/xml text/markdown application/javascript;\n\
               access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
               uwsgi_temp_path t4; scgi_temp_path t5;\n\
               gzip_static on; gzip_vary on; if_modified_since before;\n\
               server {{ listen 127.0.0.1:{port}; root {root}; index index.html; try_files $uri $uri/ =404; }}\n\
             }}\n",
            root = root.display(),
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut process = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed (scripts/setup test)");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("nginx listens", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!(
                    "nginx ended with {status}: {}",
                    std::fs::read_to_string(folder.path().join("log")).unwrap()
                );
            }
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self { address, _process: process, _folder: folder }
    }
}
