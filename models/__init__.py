import os

# onnxruntime tells its maker about every session, and writes a device id into the home folder, unless this is set
# before its import. Here it stands before the import of any engine, in whatever process that is.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
