# One IVR server: answers calls, speaks, listens to keys.
# pbxctl registers this file once for each server that has the role; by hand:
#   nomad job run -var-file=app1.vars ivr.nomad.hcl
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
  default     = 7104
  description = "UDP; where Call Managers probe this role"
}
variable "vip" {
  type        = string
  default     = ""
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
variable "manager_port" {
  type        = number
  default     = 5060
  description = "SIP of the Call Managers, over UDP on the VIP"
}
variable "sip_port" {
  type        = number
  default     = 5070
  description = "SIP from the Call Managers, over UDP"
}
variable "audio_port" {
  type        = number
  default     = 18000
  description = "First of eight UDP ports by which it exchanges sound with media servers"
}
variable "admin_port" {
  type    = number
  default = 7082
}
variable "capacity" {
  type        = number
  default     = 1000
  description = "Simultaneous calls"
}
variable "live" {
  type        = string
  default     = ""
  description = "Redis, as address:port; empty on one machine"
}

job "ivr" {
  id   = var.id
  type = "service"

  meta {
    role           = "ivr"
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
    manager_port   = var.manager_port
    sip_port       = var.sip_port
    audio_port     = var.audio_port
    admin_port     = var.admin_port
    capacity       = var.capacity
    live           = var.live
    registry       = var.registry
  }

  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }

  group "ivr" {
    count = 1

    # Tasks go on when Nomad loses sight of the host, and are not started anew when it is back.
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

    task "ivr" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${var.prefix}/bin/pbx-ivr"
        args    = []
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }
  }
}
