#!/usr/bin/python3
# Zoned images over NFS, with QEMU's own client (libnfs).
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys

sys.dont_write_bytecode = True

import remote
from remote import Nfs, nothing, restart_server
import tap


class Killed(remote.Case):
    """Everything acknowledged is there, and no write pointer lies"""
    PREFIX = 'nfs: '

    def nfs(self):
        self.need(remote.missing(*Nfs.PROGRAMS) or remote.no_driver('nfs'))
        return self.storage(Nfs)

    def test_client(self):
        """the client is killed"""
        self.rounds(self.nfs(), nothing)

    def test_server_restart(self):
        """the server is killed and started, the client waits for it"""
        self.rounds(self.nfs(), restart_server)


if __name__ == '__main__':
    remote.isolate()
    tap.main()
