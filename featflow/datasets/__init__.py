"""What feeds a flow and a trainer: photos, clips, arrays, tables."""
