"""The nodes: parameters, conversion, one call into the core, publish.

The only room that imports rclpy and message types.
"""
