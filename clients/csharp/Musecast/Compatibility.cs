#if !NET5_0_OR_GREATER
namespace System.Runtime.CompilerServices
{
    /// <summary>What the compiler needs for <c>init</c> and records where the framework has it not.</summary>
    internal static class IsExternalInit
    {
    }
}
#endif
