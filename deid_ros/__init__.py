"""Keep people unrecognisable in what robots record.

The five stages of face de-identification (Meden et al., "Face
deidentification with generative deep neural networks", IET Signal Processing,
2017) as plain Python, and the ROS 2 nodes that run them on camera streams.
Importing this package is cheap: models, TensorFlow, dlib and rclpy are loaded
where they are used.
"""

__version__ = "0.1.0"
