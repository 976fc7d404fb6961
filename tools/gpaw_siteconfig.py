"""Build GPAW with nothing but a C++ compiler: no MPI, libxc or BLAS (PBE is built in).

For production, build it against your own libraries (https://gpaw.readthedocs.io) or take conda-forge's.
"""

mpi = False
compiler = "g++"
libraries = []
nolibxc = True
noblas = True
