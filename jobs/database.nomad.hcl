# One host of the cluster's database: PostgreSQL under Patroni, and the agent beside it.
# pbxctl registers this file once for each Call Manager's server; by hand:
#   nomad job run -var-file=cm1.vars database.nomad.hcl
# Settings travel as job meta: Nomad gives every task NOMAD_META_<NAME>, so each is written once.
variable "id" {
  type        = string
  description = "Job id: <cluster>-<role>-<server>"
}
variable "cluster" {
  type        = string
  description = "Also Patroni's scope"
}
variable "server" {
  type        = string
  description = "Node name of the server this job belongs to"
}
variable "release" {
  type = string
}
variable "spec_hash" {
  type        = string
  description = "Digest of these variables; a change restarts the job"
}
variable "prefix" {
  type        = string
  description = "Where the product is installed: its programs are in prefix/bin"
}
variable "address" {
  type = string
}
variable "public_address" {
  type        = string
  default     = ""
  description = "Address to tell peers outside, where a NAT stands between"
}
variable "registry" {
  type        = string
  description = "Base URL of Consul's HTTP API"
}
variable "data_dir" {
  type        = string
  description = "Outlives the allocation"
}
variable "secrets_dir" {
  type        = string
  description = "Holds cluster_key, admin_token and the database's passwords"
}
variable "managers" {
  type        = string
  default     = ""
  description = "Call Managers, as cm1=10.20.0.11,cm2=10.20.0.12; the database runs on them"
}
variable "probe_port" {
  type        = number
  default     = 7102
  description = "UDP; where Call Managers probe this role"
}
variable "vip" {
  type        = string
  default     = ""
  description = "Where phones and trunks come to; the primary goes with it"
}
variable "vip_prefix" {
  type        = number
  default     = 0
  description = "Prefix length that the VIP is added with"
}
variable "vip6" {
  type        = string
  default     = ""
  description = "IPv6 address that moves with the VIP, with its prefix length"
}
variable "port" {
  type        = number
  default     = 5432
  description = "PostgreSQL's"
}
variable "rest_port" {
  type        = number
  default     = 8008
  description = "Patroni's REST API"
}
variable "admin_port" {
  type    = number
  default = 7082
}
variable "shared_buffers" {
  type        = number
  default     = 256
  description = "PostgreSQL's own cache, MiB"
}
variable "max_connections" {
  type    = number
  default = 200
}

job "database" {
  id   = var.id
  type = "service"

  meta {
    role            = "database"
    cluster         = var.cluster
    server          = var.server
    release         = var.release
    spec_hash       = var.spec_hash
    prefix          = var.prefix
    address         = var.address
    public_address  = var.public_address
    data_dir        = var.data_dir
    secrets_dir     = var.secrets_dir
    managers        = var.managers
    probe_port      = var.probe_port
    vip             = var.vip
    vip_prefix      = var.vip_prefix
    vip6            = var.vip6
    port            = var.port
    rest_port       = var.rest_port
    admin_port      = var.admin_port
    shared_buffers  = var.shared_buffers
    max_connections = var.max_connections
    registry        = var.registry
  }

  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }

  group "database" {
    count = 1

    # Tasks go on when Nomad loses sight of the host, and are not started anew when it is back:
    # nobody else can do this server's job.
    disconnect {
      lost_after = "6h"
      replace    = false
      reconcile  = "keep_original"
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "1s"
      mode     = "delay"
    }

    # Told to stop, it shuts PostgreSQL down and hands over: no write is lost.
    task "patroni" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"
      config {
        command = "${var.prefix}/bin/pbx-database"
        args    = ["patroni"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }

    task "agent" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${var.prefix}/bin/pbx-database"
        args    = ["agent"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }
  }
}
