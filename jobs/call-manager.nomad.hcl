# One Call Manager: Kamailio, which carries SIP, and the agent beside it.
# pbxctl registers this file once for each server that has the role; by hand:
#   nomad job run -var-file=cm1.vars call-manager.nomad.hcl
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
  description = "Holds cluster_key and admin_token"
}
variable "managers" {
  type        = string
  default     = ""
  description = "Call Managers, as cm1=10.20.0.11,cm2=10.20.0.12; empty on one machine"
}
variable "probe_port" {
  type        = number
  default     = 7100
  description = "UDP; where Call Managers probe this role"
}
variable "vip" {
  type        = string
  description = "Where phones and trunks come to"
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
variable "database_url" {
  type        = string
  description = "SQLAlchemy URL"
}
variable "sip_port" {
  type    = number
  default = 5060
}
variable "tls_port" {
  type    = number
  default = 5061
}
variable "wss_port" {
  type    = number
  default = 8443
}
variable "dmq_port" {
  type        = number
  default     = 5066
  description = "SIP between the Call Managers' Kamailios: registrations"
}
variable "admin_port" {
  type    = number
  default = 7080
}
variable "capacity" {
  type        = number
  default     = 10000
  description = "Simultaneous calls; past it new calls are refused with 503"
}
variable "workers" {
  type        = number
  default     = 4
  description = "Kamailio's UDP workers"
}
variable "shared_memory" {
  type        = number
  default     = 512
  description = "Kamailio's shared memory, MiB"
}

job "call-manager" {
  id   = var.id
  type = "service"

  meta {
    role           = "call-manager"
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
    database_url   = var.database_url
    sip_port       = var.sip_port
    tls_port       = var.tls_port
    wss_port       = var.wss_port
    dmq_port       = var.dmq_port
    admin_port     = var.admin_port
    capacity       = var.capacity
    workers        = var.workers
    shared_memory  = var.shared_memory
    registry       = var.registry
  }

  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }

  group "call-manager" {
    count = 1

    # Tasks go on when Nomad loses sight of the host, and are not started anew when it is back:
    # calls run through them. Nobody else can do this server's job.
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

    # The database, the certificates and the tables that the other two need.
    task "prepare" {
      driver = "raw_exec"
      lifecycle {
        hook = "prestart"
      }
      config {
        command = "${var.prefix}/bin/pbx-call-manager"
        args    = ["prepare"]
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
        command = "${var.prefix}/bin/pbx-call-manager"
        args    = ["agent"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }

    task "kamailio" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${var.prefix}/bin/pbx-call-manager"
        args    = ["kamailio"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }
  }
}
