"""Parts of the speech synthesiser behind `synthesize.py`.

The voice is espeak-ng, a program under the GNU General Public License,
version 3, which the pip package espeakng-loader brings as a shared library.
"""
