#!/usr/bin/env python3
#
# File systems on SCSI disks of zoned qcow2 images.  The kernel makes writes at
# the write pointer of the appends of zonefs and btrfs.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from zonetest import ScsiDisk
import test_btrfs
import test_dmzoned
import test_f2fs
import test_zonefs
import tap


@tap.full
class Zonefs(ScsiDisk, test_zonefs.Sequential):
    PREFIX = 'SCSI, zonefs: '
    QUICK = {'test_restart'}


@tap.full
class Btrfs(ScsiDisk, test_btrfs.Data):
    PREFIX = 'SCSI, btrfs: '
    # Of the kernel's own making
    LARGEST_APPEND = 1024 * 1024
    QUICK = {'test_kill'}


@tap.full
class F2fs(ScsiDisk, test_f2fs.Whole):
    PREFIX = 'SCSI, f2fs: '


@tap.full
class DmZoned(ScsiDisk, test_dmzoned.Files):
    PREFIX = 'SCSI, dm-zoned: '


if __name__ == '__main__':
    tap.main()
