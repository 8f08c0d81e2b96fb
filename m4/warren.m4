# SPDX-License-Identifier: Apache-2.0

# WARREN_CFLAG(FLAG): adds FLAG to WARREN_CFLAGS if the compiler knows it.
AC_DEFUN([WARREN_CFLAG], [
  AS_VAR_PUSHDEF([known], [warren_cv_cflag_$1])
  AC_CACHE_CHECK([whether $CC accepts $1], [known], [
    warren_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $1"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
      [AS_VAR_SET([known], [yes])], [AS_VAR_SET([known], [no])])
    CFLAGS=$warren_save_CFLAGS
  ])
  AS_VAR_IF([known], [yes], [AS_VAR_APPEND([WARREN_CFLAGS], [" $1"])])
  AS_VAR_POPDEF([known])
])

# WARREN_SWITCH(NAME, HELP): --enable-NAME, off unless asked for; sets enable_NAME to yes or no.
AC_DEFUN([WARREN_SWITCH], [
  AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [$2])], [], [enable_$1=no])
])

# WARREN_LIB_HEADER(VAR, PKG, HEADER, LIB, FUNCTION): pkg-config, or else header and library where
# the package brings no .pc file.
AC_DEFUN([WARREN_LIB_HEADER], [
  PKG_CHECK_MODULES([$1], [$2], [], [
    AC_CHECK_HEADER([$3], [], [AC_MSG_ERROR([<$3> is missing])])
    AC_CHECK_LIB([$4], [$5], [$1_LIBS="-l$4"], [AC_MSG_ERROR([lib$4 is missing])])
  ])
])
