"""Gives all files in a wheel the same time: `wheel_times.py WHEEL SECONDS_SINCE_1970`.

maturin takes the time from SOURCE_DATE_EPOCH. With that variable, cargo would compile all C code again.
"""

import os
import sys
import time
import zipfile
from pathlib import Path

wheel, date = Path(sys.argv[1]), time.gmtime(int(sys.argv[2]))[:6]
copy = wheel.with_suffix(".copy")
with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
    for entry in source.infolist():
        named = zipfile.ZipInfo(entry.filename, date)
        named.external_attr, named.compress_type = entry.external_attr, entry.compress_type
        target.writestr(named, source.read(entry))
os.replace(copy, wheel)
