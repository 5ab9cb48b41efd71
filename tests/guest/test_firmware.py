#!/usr/bin/env python3
#
# Firmware that finds a zoned disk first in the boot order goes on to the next
# disk, and writes nothing.  There is no Linux in these machines.
#
# OVMF is that of the host, or in the directory that the variable OVMF names.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
from pathlib import Path
import shutil
import struct
import subprocess
import tempfile
import unittest

from guest import BUILD, QEMU, firmware, prepare, qemu_img
from zonetest import create_image, GEOMETRY
import tap

OVMF = Path(os.environ.get('OVMF', '/usr/share/OVMF'))

# Says "booted" on the serial port, and ends QEMU with status 3: for each
# character mov al, CHARACTER; out dx, al
SECTOR = (b'\xba\xf8\x03' + b''.join(b'\xb0%c\xee' % c for c in b'booted\n') +
          b'\xba\x01\x05\xb0\x01\xee\xf4').ljust(510, b'\0') + b'\x55\xaa'
# A script for the shell of UEFI
SCRIPT = b'echo booted\r\nreset -s\r\n'


def fat_disk():
    """A FAT12 file system with the file STARTUP.NSH only."""
    boot = struct.pack('<3s8sHBHBHHBHHHIIBBBI11s8s', b'\xeb\x3c\x90', b'test',
                       512, 1, 1, 2, 224, 2880, 0xf0, 9, 18, 2, 0, 0, 0, 0,
                       0x29, 1, b'TEST       ', b'FAT12   ')
    # Of the clusters, the third is the only one of a file
    table = b'\xf0\xff\xff\xff\x0f'.ljust(9 * 512, b'\0')
    entry = struct.pack('<11sB14xHI', b'STARTUP NSH', 0x20, 2, len(SCRIPT))
    return (boot.ljust(510, b'\0') + b'\x55\xaa' + 2 * table +
            entry.ljust(224 * 32, b'\0') + SCRIPT).ljust(2880 * 512, b'\0')


DEVICES = {
    'virtio-blk': ['-device', 'virtio-blk-pci,drive=zoned,bootindex=0'],
    'nvme': ['-device', 'nvme,id=nvme0,serial=zoned',
             '-device', 'nvme-ns,drive=zoned,bus=nvme0,bootindex=0'],
    'scsi': ['-device', 'virtio-scsi-pci,id=scsi0',
             '-device', 'scsi-hd,drive=zoned,bus=scsi0.0,bootindex=0'],
}


class Firmware(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not QEMU.exists():
            prepare()
        cls.dir = Path(tempfile.mkdtemp(prefix='zoned-firmware-'))
        cls.addClassCleanup(shutil.rmtree, cls.dir)

    def boot(self, device, *args):
        """Return what is printed until QEMU ends."""
        image = self.dir / 'zoned.qcow2'
        # What is in its first zone is no boot sector
        create_image(image, GEOMETRY | {'zone.max_active_zones': 0})
        subprocess.run([BUILD / 'qemu-io', '-f', 'qcow2', '-c',
                        'write -P 0x41 0 64k', image],
                       stdout=subprocess.DEVNULL, check=True)
        before = qemu_img('zone', 'report', image)
        proc = subprocess.run(
            [str(arg) for arg in (
                QEMU, *firmware(), '-machine', 'q35', '-accel', 'tcg',
                '-m', '256M', '-nodefaults', '-nic', 'none', '-display', 'none',
                '-no-reboot', '-serial', 'stdio',
                '-device', 'isa-debug-exit,iobase=0x501,iosize=1',
                '-blockdev', 'driver=qcow2,node-name=zoned,file.driver=file,'
                f'file.filename={image}', *DEVICES[device], *args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300, check=False)
        self.assertEqual(qemu_img('zone', 'report', image), before)
        return proc.stdout.decode(errors='replace')


def add_seabios(device):
    def test(self):
        disk = self.dir / 'disk.raw'
        disk.write_bytes(SECTOR.ljust(1 << 20, b'\0'))
        output = self.boot(
            device, '-drive', f'if=none,id=other,format=raw,file={disk}',
            '-device', 'virtio-blk-pci,drive=other,bootindex=1')
        self.assertIn('booted', output)
    test.__doc__ = f'SeaBIOS boots from the disk after a zoned one ({device})'
    setattr(SeaBios, f'test_{device.replace("-", "_")}', test)


def add_ovmf(device):
    def test(self):
        code = OVMF / 'OVMF_CODE_4M.fd'
        if not code.exists():
            self.skipTest('no OVMF: install the package ovmf, or set OVMF')
        variables = self.dir / 'variables.fd'
        shutil.copy(OVMF / 'OVMF_VARS_4M.fd', variables)
        disk = self.dir / 'disk.fat'
        disk.write_bytes(fat_disk())
        output = self.boot(
            device, '-drive', f'if=pflash,format=raw,readonly=on,file={code}',
            '-drive', f'if=pflash,format=raw,file={variables}',
            '-drive', f'if=none,id=other,format=raw,file={disk}',
            '-device', 'virtio-blk-pci,drive=other,bootindex=1')
        self.assertIn('booted', output)
    test.__doc__ = f'OVMF boots from the disk after a zoned one ({device})'
    setattr(Ovmf, f'test_{device.replace("-", "_")}', test)


class SeaBios(Firmware):
    pass


@tap.full
class Ovmf(Firmware):
    pass


for name in DEVICES:
    add_seabios(name)
    add_ovmf(name)


if __name__ == '__main__':
    del Firmware
    tap.main()
