# One media server: rtpengine, which carries RTP, and the agent beside it.
# pbxctl registers this file once for each server that has the role; by hand:
#   nomad job run -var-file=media1.vars media.nomad.hcl
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
  default     = 7101
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
variable "media_address" {
  type        = string
  description = "Where phones send RTP"
}
variable "media_from" {
  type    = number
  default = 20000
}
variable "media_to" {
  type    = number
  default = 59999
}
variable "media_addresses" {
  type        = string
  default     = ""
  description = "What media servers may hold, as <name>=<address> by commas; empty: nothing moves"
}
variable "media_prefix" {
  type        = number
  default     = 32
  description = "Prefix length that a floating media address is added with"
}
variable "live" {
  type        = string
  default     = ""
  description = "Redis, as address:port; empty on one machine"
}
variable "control_address" {
  type        = string
  default     = ""
  description = "Where rtpengine takes commands, from Call Managers only; empty: address"
}
variable "control_port" {
  type        = number
  default     = 2223
  description = "rtpengine's ng protocol"
}
variable "announce_port" {
  type        = number
  default     = 5090
  description = "SIP of the announcements"
}
variable "admin_port" {
  type    = number
  default = 7081
}
variable "recordings_dir" {
  type = string
}
variable "capacity" {
  type        = number
  default     = 2500
  description = "Simultaneous calls"
}

job "media" {
  id   = var.id
  type = "service"

  meta {
    role            = "media"
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
    media_address   = var.media_address
    media_addresses = var.media_addresses
    media_prefix    = var.media_prefix
    live            = var.live
    media_from      = var.media_from
    media_to        = var.media_to
    control_address = var.control_address
    control_port    = var.control_port
    announce_port   = var.announce_port
    admin_port      = var.admin_port
    recordings_dir  = var.recordings_dir
    capacity        = var.capacity
    registry        = var.registry
  }

  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }

  group "media" {
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

    task "rtpengine" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${var.prefix}/bin/pbx-media"
        args    = ["rtpengine"]
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
        command = "${var.prefix}/bin/pbx-media"
        args    = ["agent"]
      }
      logs {
        max_files     = 5
        max_file_size = 20
      }
    }
  }
}
