# One host of the cluster's live state: Redis, and the agent that has it follow the VIP.
# pbxctl registers this file once for each Call Manager's server; by hand:
#   nomad job run -var-file=cm1.vars live.nomad.hcl
# Settings travel as job meta: Nomad gives every task NOMAD_META_<NAME>, so each is written once.
variable "id" {
  type        = string
  description = "Job id: <cluster>-<role>-<server>"
}
variable "cluster" {
  type = string
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
  description = "Holds cluster_key, admin_token and live_password"
}
variable "managers" {
  type        = string
  default     = ""
  description = "Call Managers, as cm1=10.20.0.11,cm2=10.20.0.12; Redis runs on them"
}
variable "probe_port" {
  type        = number
  default     = 7103
  description = "UDP; where Call Managers probe this role"
}
variable "vip" {
  type        = string
  default     = ""
  description = "Where phones and trunks come to; its holder's Redis is the primary"
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
  default     = 6380
  description = "Redis'; clients use the VIP with it"
}
variable "admin_port" {
  type    = number
  default = 7083
}
variable "memory" {
  type        = number
  default     = 1024
  description = "What Redis may hold, MiB; more is refused"
}

job "live" {
  id   = var.id
  type = "service"

  meta {
    role           = "live"
    cluster        = var.cluster
    server         = var.server
    release        = var.release
    spec_hash      = var.spec_hash
    prefix         = var.prefix
    address        = var.address
    public_address = var.public_address
    data_dir       = var.data_dir
    secrets_dir    = var.secrets_dir
    managers       = var.managers
    probe_port     = var.probe_port
    vip            = var.vip
    vip_prefix     = var.vip_prefix
    vip6           = var.vip6
    port           = var.port
    admin_port     = var.admin_port
    memory         = var.memory
    registry       = var.registry
  }

  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }

  group "live" {
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

    task "redis" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${var.prefix}/bin/pbx-live"
        args    = ["redis"]
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
        command = "${var.prefix}/bin/pbx-live"
        args    = ["agent"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }
  }
}
